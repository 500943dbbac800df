"""Colour transfer: give the result the colours of the input.

Generative upscalers drift in brightness and tint. Both functions take pixels [B, 3, T, H, W] in [-1, 1] and
return such pixels. Source: the colour fix of the released STAR code, after StableSR (arXiv 2305.07015).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from starvsr.errors import OptionError

WAVELET_LEVELS = 5
_VARIANCE_FLOOR = 4e-5  # on pixels in [-1, 1]; 1e-5 on [0, 1]


def adain(target: Tensor, source: Tensor) -> Tensor:
    """Match mean and standard deviation of each frame and channel to the source's.

    Args:
        target: result to correct, [B, 3, T, H, W] in [-1, 1].
        source: the input, the same B, 3 and T, any height and width (not enlarged).

    Returns:
        [B, 3, T, H, W], clamped to [-1, 1].

    Raises:
        OptionError: the clips do not belong together.
    """
    if target.shape[:3] != source.shape[:3]:
        raise OptionError(f"cannot match colours of clips {tuple(target.shape)} and {tuple(source.shape)}")
    target_mean, target_std = _statistics(target)
    source_mean, source_std = _statistics(source)
    gain = source_std / target_std
    return torch.addcmul(source_mean - target_mean * gain, target, gain).clamp_(-1, 1)


def wavelet(target: Tensor, source: Tensor) -> Tensor:
    """Keep the target's detail and take everything coarser than about 32 pixels from the source.

    Args:
        target: result to correct, [B, 3, T, H, W] in [-1, 1].
        source: the input enlarged to the same shape.

    Returns:
        [B, 3, T, H, W], clamped to [-1, 1].

    Raises:
        OptionError: the shapes differ.
    """
    if target.shape != source.shape:
        raise OptionError(
            f"wavelet colour transfer needs clips of one shape, not {tuple(target.shape)} and "
            f"{tuple(source.shape)}: enlarge the source first"
        )
    # detail(target) + coarse(source), by linearity with one decomposition
    _, low = wavelet_split(rearrange(source - target, "b c t h w -> (b t) c h w"))
    return rearrange(low, "(b t) c h w -> b c t h w", b=target.shape[0]).add(target).clamp_(-1, 1)


def wavelet_split(pictures: Tensor, levels: int = WAVELET_LEVELS) -> tuple[Tensor, Tensor]:
    """Split pictures [N, C, H, W] into detail and coarse colour, which sum to the picture.

    The a-trous transform: blur with [1 2 1] x [1 2 1] / 16, its taps 2**i apart at level i, edges repeated.
    """
    low = pictures
    for level in range(levels):
        low = _blur(low, 2**level)
    return pictures - low, low


def _blur(pictures: Tensor, spacing: int) -> Tensor:
    """Blur with [1 2 1] / 4 along rows and columns, taps `spacing` apart; adding slices beats a convolution."""
    padded = F.pad(pictures, (spacing,) * 4, mode="replicate")
    rows = padded[..., spacing:-spacing, :] * 0.5
    rows.add_(padded[..., : -2 * spacing, :], alpha=0.25).add_(padded[..., 2 * spacing :, :], alpha=0.25)
    blurred = rows[..., spacing:-spacing] * 0.5
    return blurred.add_(rows[..., : -2 * spacing], alpha=0.25).add_(rows[..., 2 * spacing :], alpha=0.25)


def _statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each frame and channel, [B, 3, T, 1, 1]."""
    has_spread = pixels.shape[-2] * pixels.shape[-1] > 1  # unbiased variance of one pixel would be 0 / 0
    variance, mean = torch.var_mean(pixels, dim=(-2, -1), keepdim=True, correction=int(has_spread))
    return mean, (variance + _VARIANCE_FLOOR).sqrt()
