"""Enlarging, padding and cropping clips, and the byte conversion of the released STAR code.

Clips are [B, C, T, H, W]; pixels in [-1, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.padding import Padding

WHITE = 1.0
"""Border value of the released STAR code."""


def enlarge(pixels: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Resize a clip [B, C, T, H, W] to [B, C, T, height, width] without antialiasing, as STAR does."""
    num_frames = pixels.shape[2]
    frames = rearrange(pixels, "b c t h w -> (b t) c h w")
    frames = F.interpolate(frames, (height, width), mode=mode, align_corners=False)
    return rearrange(frames, "(b t) c h w -> b c t h w", t=num_frames)


def pad_white(pixels: Tensor, padding: Padding) -> Tensor:
    """Surround a clip with white, as the released STAR code does."""
    return F.pad(pixels, (padding.left, padding.right, padding.top, padding.bottom), value=WHITE)


def pad_reflect(pixels: Tensor, padding: Padding) -> Tensor:
    """Surround a clip with its own reflection; borders wider than the picture go back and forth.

    The default: a white border leaks into the picture through attention and convolutions, a reflection does
    not.
    """
    rows = _reflected(pixels.shape[-2], padding.top, padding.bottom, pixels.device)
    columns = _reflected(pixels.shape[-1], padding.left, padding.right, pixels.device)
    if padding.top or padding.bottom:
        pixels = pixels.index_select(-2, rows)
    if padding.left or padding.right:
        pixels = pixels.index_select(-1, columns)
    return pixels


def crop(pixels: Tensor, padding: Padding) -> Tensor:
    """Undo a padding of a clip [..., H, W]."""
    height, width = pixels.shape[-2:]
    if height <= padding.top + padding.bottom or width <= padding.left + padding.right:
        raise OptionError(f"a border of {padding} leaves nothing of {width}x{height} pixels")
    return pixels[..., padding.top : height - padding.bottom, padding.left : width - padding.right]


def to_byte_range(pixels: Tensor) -> Tensor:
    """Map [-1, 1] to float 0..255, clamped, not rounded; same shape."""
    return (pixels * 0.5 + 0.5).clamp(0, 1) * 255.0


def truncate_to_bytes(pixels: Tensor) -> Tensor:
    """Convert [-1, 1] to uint8 by cutting the fraction off: exact reproduction of the released STAR code.

    Everything else rounds (`starvsr.video.pixels.from_unit`): cutting darkens a video by half a level on
    average.
    """
    return to_byte_range(pixels).to(torch.uint8)


def _reflected(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Source index of each row of a padded axis, bouncing between the first and the last."""
    if size == 1:
        return torch.zeros(before + 1 + after, dtype=torch.long, device=device)
    period = 2 * (size - 1)
    phase = torch.arange(-before, size + after, device=device) % period
    return torch.minimum(phase, period - phase)
