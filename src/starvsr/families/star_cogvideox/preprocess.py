"""How frames come to the size at which they are restored: bicubic interpolation, ours or the released code's.

Clips are [1, 3, T, H, W]; pixels in [-1, 1].
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from starvsr.imaging.frames import enlarge, pad_reflect, to_byte_range
from starvsr.padding import Padding

MULTIPLE_PX = 16
"""Sides of what is restored: 8 pixels a latent cell, 2 cells a token."""


def minimal_border(height: int, width: int) -> Padding:
    """Return the border, right and below, that fills a frame up to whole tokens."""
    return Padding(right=-width % MULTIPLE_PX, bottom=-height % MULTIPLE_PX)


def prepared(lq: Tensor, scale: int, padding: Padding) -> Tensor:
    """Return a clip enlarged by bicubic interpolation, without overshoot, its border reflected; float32."""
    pixels = lq.float()
    if scale != 1:
        pixels = enlarge(pixels, scale * lq.shape[-2], scale * lq.shape[-1], "bicubic").clamp_(-1, 1)
    return pad_reflect(pixels, padding)


def prepared_as_released(lq: Tensor, scale: int, padding: Padding) -> Tensor:
    """Return a clip enlarged as bytes, as the released code does it, its border reflected; float32.

    What is no whole level of 255 is rounded first.
    """
    frames = to_byte_range(lq.float())[0].round().byte().transpose(0, 1).cpu()
    if scale != 1:
        frames = resize_bytes(frames, float(scale), "bicubic")
    return pad_reflect(frames.transpose(0, 1)[None].float().div_(255).mul_(2).sub_(1), padding)


def resize_bytes(frames: Tensor, factor: float, mode: str) -> Tensor:
    """Resize uint8 frames [T, 3, H, W] as the released code does: interpolated as bytes, on the CPU.

    Each pass rounds and clips, by rules that depend on PyTorch's version and the processor: on smooth frames up to 4
    levels beside interpolation in float, on noise up to 21. The released code enlarges frames narrower than 720 pixels
    4 times ("bicubic"), and reduces wider ones to two thirds ("bilinear").
    """
    return F.interpolate(frames, scale_factor=factor, mode=mode)
