"""How far a frame goes from the faithful enlargement of its input: `--detail` for models without one of their own.

The enlargement is bicubic interpolation as torch has it (a = -0.75, pixel centres, edges repeated), which is what the
models begin with and what the model "bicubic" gives. It is separable, so for a whole factor each output pixel is a sum
of five input pixels along each side, with weights that repeat; two small matrix products do it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from starvsr.models.bicubic import REACH, phase_weights
from starvsr.video.pixels import to_unit

_TAPS = 2 * REACH + 1
_ROWS = 16  # input rows at a time: what they become stays in the processor's cache
_HALF, _LARGEST = 32767.5, 65535.0


def blend_with_enlargement(
    codes: NDArray[np.uint16], lq: NDArray[np.uint8] | NDArray[np.uint16], detail: float
) -> NDArray[np.uint16]:
    """Blend a result with the bicubic enlargement of its input.

    Args:
        codes: The result, uint16 [scale * h, scale * w, 3] that spread [-1, 1] over 0..65535.
        lq: The input frame, uint8 or uint16 [h, w, 3 or 4], full range; alpha is not looked at.
        detail: Share of the result, 0 (the enlargement alone) to 1 (the result unchanged).

    Returns:
        Codes of the same shape; the argument is not changed.
    """
    height, width = lq.shape[:2]
    scale = codes.shape[0] // height
    assert codes.shape == (scale * height, scale * width, 3), (codes.shape, lq.shape)
    if detail >= 1:
        return codes.copy()
    wide = _widened(to_unit(lq[None, :, :, :3])[:, 0].permute(1, 2, 0), scale)  # [h + 4, scale * w * 3]
    weights = torch.tensor(phase_weights(scale)) * (_HALF * (1 - detail))
    blended = np.empty_like(codes)
    for start in range(0, height, _ROWS):
        stop = min(start + _ROWS, height)
        windows = wide[start : stop + _TAPS - 1].unfold(0, _TAPS, 1).transpose(1, 2)  # [rows, 5, scale * w * 3]
        base = torch.matmul(weights, windows).reshape(scale * (stop - start), scale * width, 3)
        base.add_((1 - detail) * (_HALF + 0.5)).clamp_(0, (1 - detail) * _LARGEST)
        rows = slice(scale * start, scale * stop)
        if detail > 0:
            base.add_(torch.from_numpy(codes[rows].astype(np.float32)), alpha=detail)
        blended[rows] = base.clamp_(max=_LARGEST).numpy().astype(np.uint16)
    return blended


def _widened(picture: Tensor, scale: int) -> Tensor:
    """Enlarge the rows of [h, w, 3]; repeat the first and the last twice: [h + 4, scale * w * 3]."""
    height, width = picture.shape[:2]
    columns = torch.arange(-REACH, width + REACH).clamp_(0, width - 1)
    windows = picture[:, columns].unfold(1, _TAPS, 1)  # [h, w, 3, 5]
    wide = torch.matmul(windows, torch.tensor(phase_weights(scale)).T).transpose(2, 3)  # [h, w, scale, 3]
    rows = torch.arange(-REACH, height + REACH).clamp_(0, height - 1)
    return wide.reshape(height, scale * width * 3)[rows]
