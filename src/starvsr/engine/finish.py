"""From enlarged codes to the frame that is written: colour transfer, final size, alpha, rounding.

One frame at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from starvsr.engine.render import Pixels, Store, from_codes
from starvsr.imaging.color import adain, wavelet
from starvsr.imaging.frames import enlarge
from starvsr.video.pixels import from_unit, to_unit

_ROUND_TO_8_BITS = np.array([(code + 128) // 257 for code in range(65536)], np.uint8)


@dataclass(frozen=True)
class Finish:
    """How a frame is finished.

    Args:
        width: Width of the output in pixels.
        height: Height of the output in pixels.
        color: "none", "adain" or "wavelet".
        keep_alpha: Whether the output holds the input's alpha; it is enlarged by itself.
    """

    width: int
    height: int
    color: str = "none"
    keep_alpha: bool = False

    def __call__(self, codes: Store, lq: Pixels) -> Pixels:
        """Finish one frame.

        Args:
            codes: uint16 [H, W, 3] over 0..65535, as the network's size has it.
            lq: The input frame, uint8 or uint16 [h, w, 3 or 4].

        Returns:
            [height, width, 3 or 4] of the input's type.
        """
        rgb = self._rgb(codes, lq)
        if not (self.keep_alpha and lq.shape[2] == 4):
            return rgb
        alpha = to_unit(lq[None, :, :, 3:])[:, 0]  # [1, h, w]
        return np.concatenate([rgb, _rounded(resize(alpha, self.height, self.width), lq.dtype)], axis=2)

    def _rgb(self, codes: Store, lq: Pixels) -> Pixels:
        same_size = codes.shape[:2] == (self.height, self.width)
        if same_size and self.color == "none":
            return _ROUND_TO_8_BITS[codes] if lq.dtype == np.uint8 else codes.copy()  # no view of the segment
        hq = from_codes(codes)  # [3, H, W]
        if self.color != "none":
            hq = _with_colors(hq, to_unit(lq[None, :, :, :3])[:, 0], self.color)
        return _rounded(hq if same_size else resize(hq, self.height, self.width), lq.dtype)


def _with_colors(hq: Tensor, lq: Tensor, color: str) -> Tensor:
    target, source = hq[None, :, None], lq[None, :, None]  # [1, 3, 1, H, W], [1, 3, 1, h, w]
    if color == "adain":
        return adain(target, source)[0, :, 0]
    height, width = hq.shape[1:]
    return wavelet(target, enlarge(source, height, width, "bicubic"))[0, :, 0]


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """Resize a picture [C, H, W] by antialiased bicubic interpolation, without overshoot beyond [-1, 1]."""
    size = (height, width)
    resized = F.interpolate(picture[None], size, mode="bicubic", align_corners=False, antialias=True)
    return resized[0].clamp_(-1, 1)


def _rounded(picture: Tensor, dtype: np.dtype) -> NDArray:
    return from_unit(picture[:, None], 8 if dtype == np.uint8 else 16)[0]
