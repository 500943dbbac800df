"""Sensor-like noise for clips: one kind and strength a clip, new values for every frame.

Clips are float32 [T, 3, H, W] in [0, 1]; all numbers come from the generator given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class NoiseRanges:
    """What noise is drawn from.

    Attributes:
        probability: share of clips that get noise here.
        gaussian_probability: Gaussian rather than Poisson.
        gaussian_sigma: range of the standard deviation, in 1/255.
        poisson_scale: range of the factor on the photon noise.
        grey_probability: the same noise in all three channels.
    """

    probability: float = 1.0
    gaussian_probability: float = 0.5
    gaussian_sigma: tuple[float, float] = (1.0, 30.0)
    poisson_scale: tuple[float, float] = (0.05, 3.0)
    grey_probability: float = 0.4


@dataclass(frozen=True)
class NoiseDraw:
    """Noise of one clip: `kind` "gaussian" (strength in 1/255) or "poisson" (strength is a factor)."""

    kind: str
    strength: float
    grey: bool


def draw_noise(rng: np.random.Generator, ranges: NoiseRanges) -> NoiseDraw | None:
    """Draw kind and strength; None for no noise."""
    present = rng.random() < ranges.probability
    gaussian = rng.random() < ranges.gaussian_probability
    strength = rng.uniform(*(ranges.gaussian_sigma if gaussian else ranges.poisson_scale))
    grey = bool(rng.random() < ranges.grey_probability)
    return NoiseDraw("gaussian" if gaussian else "poisson", strength, grey) if present else None


def add_noise(
    clip: torch.Tensor, draw: NoiseDraw, rng: np.random.Generator, walk: np.ndarray | None = None
) -> torch.Tensor:
    """Add noise to a clip and clamp.

    Poisson noise is drawn as normal noise of the same variance (img/256, that of 8-bit photon counts),
    which is many times faster and cannot be told from it once rounded to 8 bits; grey Poisson noise follows
    the luma.

    Args:
        clip: float32 [T, 3, H, W] in [0, 1].
        draw: kind and strength.
        rng: source of the values.
        walk: factor on the strength of each frame, [T]; None for 1.

    Returns:
        float32 [T, 3, H, W] in [0, 1].
    """
    num_frames, channels, height, width = clip.shape
    shape = (num_frames, 1 if draw.grey else channels, height, width)
    values = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    if draw.kind == "gaussian":
        values *= draw.strength / 255.0
    else:
        signal = luma(clip) if draw.grey else clip
        values *= (signal.clamp(0, 1) / 256.0).sqrt_() * draw.strength
    if walk is not None:
        values *= torch.from_numpy(walk).view(-1, 1, 1, 1)
    return (clip + values).clamp_(0.0, 1.0)


def luma(clip: torch.Tensor) -> torch.Tensor:
    """BT.601 luma of float [T, 3, H, W], as [T, 1, H, W]."""
    return 0.299 * clip[:, 0:1] + 0.587 * clip[:, 1:2] + 0.114 * clip[:, 2:3]
