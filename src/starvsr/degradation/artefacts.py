"""Damage that cameras, editors and broadcasters leave: sharpening haloes and traces of interlacing.

Both happen at the size of the low-quality clip, before the last codec.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from starvsr.degradation.kernels import bell_kernel, filter_clip


@dataclass(frozen=True)
class SharpenRanges:
    """Unsharp masking: how often, how much of the difference to a blurred copy is added, and how wide the blur is."""

    probability: float = 0.0
    amount: tuple[float, float] = (0.4, 2.0)
    sigma: tuple[float, float] = (0.6, 1.6)


@dataclass(frozen=True)
class SharpenDraw:
    """Unsharp masking drawn for one clip."""

    amount: float
    sigma: float


@dataclass(frozen=True)
class InterlaceDraw:
    """Traces of interlacing drawn for one clip.

    Attributes:
        blend: whether it is deinterlaced by averaging neighbouring rows, which leaves double edges in place of combs.
        later: share of the next frame in odd rows. A half stands for fields half a frame apart, with edges of half the
            contrast in both places; one gives whole teeth, as long as the motion of a whole frame.
    """

    blend: bool
    later: float


def draw_interlacing(rng: np.random.Generator, probability: float) -> InterlaceDraw | None:
    """Draw traces of interlacing; None for none. Draws nothing at all where the probability is zero."""
    if not probability or rng.random() >= probability:
        return None
    return InterlaceDraw(blend=bool(rng.random() < 0.5), later=float(rng.choice((0.5, 1.0))))


def draw_sharpening(rng: np.random.Generator, ranges: SharpenRanges) -> SharpenDraw | None:
    """Draw a sharpening; None for none. Draws nothing at all where the probability is zero."""
    if not ranges.probability or rng.random() >= ranges.probability:
        return None
    return SharpenDraw(rng.uniform(*ranges.amount), rng.uniform(*ranges.sigma))


def sharpen(clip: torch.Tensor, draw: SharpenDraw) -> torch.Tensor:
    """Add ``amount`` times the difference to a blurred copy: edges get a dark and a bright seam, that is, a halo.

    Args:
        clip: float [T, 3, H, W] in [0, 1].
        draw: strength and width.

    Returns:
        float [T, 3, H, W] in [0, 1].
    """
    size = 2 * int(np.ceil(2.5 * draw.sigma)) + 1
    blurred = filter_clip(clip, bell_kernel(size, draw.sigma, draw.sigma))
    return (clip + draw.amount * (clip - blurred)).clamp(0, 1)


def interlace(clip: torch.Tensor, draw: InterlaceDraw) -> torch.Tensor:
    """Leave traces of interlacing: odd rows come from later than even ones.

    Args:
        clip: float [T, 3, H, W].
        draw: how much later, and what was made of it.

    Returns:
        float [T, 3, H, W]; a still clip stays as it is but for the average of rows.
    """
    following = torch.cat([clip[1:], clip[-1:]])
    woven = clip.clone()
    woven[:, :, 1::2] = torch.lerp(clip[:, :, 1::2], following[:, :, 1::2], draw.later)
    if not draw.blend:
        return woven
    above = torch.cat([woven[:, :, :1], woven[:, :, :-1]], dim=2)
    below = torch.cat([woven[:, :, 1:], woven[:, :, -1:]], dim=2)
    return (above + 2 * woven + below) / 4
