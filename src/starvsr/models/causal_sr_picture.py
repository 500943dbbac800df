"""The picture around CausalSR's correction: luma and chroma of the input, their enlargement, the change back to RGB.

Source: bicubic interpolation as torch has it (a = -0.75); full-range BT.601 as in JFIF.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.models.bicubic import phase_weights
from starvsr.models.luma_chroma import CB, CR, LUMA, chroma_gate

SCALE = 4
"""Output pixels per input pixel along each side."""
CHROMA_SCALE = 2
"""Chroma is corrected at twice the input's size, the chroma resolution of a 4:2:0 result."""
LUMA_CHANNELS = (SCALE // CHROMA_SCALE) ** 2
"""Luma of the correction: the sub-pixels of a position at twice the input's size."""
CONTEXT_PX = 6
"""Input pixels around a part of the picture that `composed` looks at, rounded up."""

FloatArray = npt.NDArray[np.float32]


def composed(ycc: Tensor, correction: Tensor) -> Tensor:
    """Enlarge the input, add the correction, and return RGB [N, 3, 4h, 4w] in float32.

    All of it is linear but for the gate. The sub-pixels are channels until the end, so that little is computed at
    the result's size: bicubic enlargement is a convolution of the input, the bilinear enlargement of chroma and the
    change to RGB are one at twice its size.

    Args:
        ycc: luma and chroma of the input [N, 3, h, w], float32.
        correction: [N, 6, 2h, 2w], as of ``CausalSR._head``.
    """
    device = ycc.device.type
    with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):  # meta has none
        enlarged = F.conv2d(
            F.pad(ycc, (2, 2, 2, 2), mode="replicate"), torch.tensor(_bicubic_kernels(), device=ycc.device)
        )
        enlarged = F.pixel_shuffle(enlarged, CHROMA_SCALE)  # [N, 6, 2h, 2w]
        # in one layout with what it is added to: sums of two layouts take three times as long
        luma, chroma = correction.float().contiguous().split([LUMA_CHANNELS, 2], dim=1)
        luma = enlarged[:, :LUMA_CHANNELS] + luma
        gate = chroma_gate(ycc[:, 1:])
        gate = gate.repeat_interleave(CHROMA_SCALE, dim=-1).repeat_interleave(CHROMA_SCALE, dim=-2)
        chroma = enlarged[:, LUMA_CHANNELS:] + chroma * gate
        colour = F.conv2d(
            F.pad(chroma, (1, 1, 1, 1), mode="replicate"), torch.tensor(_colour_kernels(), device=ycc.device)
        )
        return F.pixel_shuffle((colour.unflatten(1, (3, -1)) + luma[:, None]).flatten(1, 2), SCALE // CHROMA_SCALE)


@cache
def _bicubic_kernels() -> FloatArray:
    """Kernels [24, 3, 5, 5] that enlarge luma by four and chroma by two, in the order of the head's sub-pixels.

    These are arrays: tensors that are kept would belong to the mode in which they were made (inference, tracing).
    """
    luma, chroma = phase_weights(SCALE), phase_weights(CHROMA_SCALE)
    inner = SCALE // CHROMA_SCALE
    kernels = np.zeros((LUMA_CHANNELS + 2, CHROMA_SCALE, CHROMA_SCALE, 3, 5, 5), np.float32)
    for row in range(CHROMA_SCALE):
        for column in range(CHROMA_SCALE):
            for index in range(LUMA_CHANNELS):
                down, right = inner * row + index // inner, inner * column + index % inner
                kernels[index, row, column, 0] = np.outer(luma[down], luma[right])
            for index in (1, 2):
                kernels[LUMA_CHANNELS + index - 1, row, column, index] = np.outer(chroma[row], chroma[column])
    return kernels.reshape(-1, 3, 5, 5)


@cache
def _colour_kernels() -> FloatArray:
    """Kernels [12, 2, 3, 3] that enlarge chroma by two, bilinear, and turn it into what RGB has beside luma."""
    red, blue = (0.0, CR), (CB, 0.0)
    green = (-LUMA[2] * CB / LUMA[1], -LUMA[0] * CR / LUMA[1])
    lines = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
    kernels = np.einsum("km,ay,bx->kabmyx", np.array([red, green, blue]), lines, lines)
    return kernels.reshape(-1, 2, 3, 3).astype(np.float32)
