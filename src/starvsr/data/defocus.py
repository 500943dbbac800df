"""Backgrounds out of focus: part of a sharp clip is blurred as by a lens, and that is the ground truth.

Ground truth that is sharp everywhere teaches a network that whatever is soft was damaged; it then sharpens what a
lens left soft.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = (1.5, 7.0)
"""Range of the largest disc's radius, in pixels of the ground truth; logarithms are drawn evenly."""
_GRID = (2, 5)
"""Numbers of random depths along a side, from which those of all pixels are interpolated."""
_LIGHTS = 8
"""Most lights in a clip."""
_LIGHT_PX = (1, 8)
"""Sides of a light."""
_LIGHT_SUM = (5e3, 6e4)
"""Range of what a light adds to the sum of a channel: up to white where its disc is small."""


def defocus(frames: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Put part of a clip out of focus, the same part in all frames.

    Depths vary smoothly over the picture: what is nearer than one limit stays sharp, what is farther than another is
    blurred by a disc of the drawn radius, and between them the radius grows. Small lights, which are seen as discs
    with clear rims, shine where the clip is blurred, in half of the clips.

    Args:
        frames: uint8 [T, H, W, 3].
        rng: draws radius, depths, limits and lights.

    Returns:
        uint8 [T, H, W, 3].
    """
    radius = float(np.exp(rng.uniform(*np.log(RADIUS))))
    amount = torch.from_numpy(_depths(rng, frames.shape[1:3])).float()[:, :, None]
    sharp = torch.from_numpy(frames.astype(np.float32))
    lit = sharp + _lights(rng, frames.shape[1:3])
    half, whole = (_blurred(lit, size).clamp(max=255) for size in (radius / 2, radius))
    near, far = (2 * amount).clamp(0, 1), (2 * amount - 1).clamp(0, 1)
    mixed = torch.lerp(torch.lerp(sharp, half, near), whole, far)
    return mixed.round().clamp(0, 255).to(torch.uint8).numpy()


def _depths(rng: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Draw how far out of focus each pixel is, 0 to 1, [H, W]."""
    grid = torch.from_numpy(rng.random((1, 1, *rng.integers(*_GRID, size=2, endpoint=True))))
    depths = F.interpolate(grid, size, mode="bicubic", align_corners=True)[0, 0].numpy()
    begins, width = rng.uniform(0.1, 0.7), rng.uniform(0.05, 0.4)
    clipped: npt.NDArray[np.float64] = np.clip((depths - begins) / width, 0, 1)
    return clipped


def _lights(rng: np.random.Generator, size: tuple[int, int]) -> Tensor:
    """Draw what small lights add to each pixel, [H, W, 3]; nothing in half of the cases."""
    added = torch.zeros(*size, 3)
    if rng.random() < 0.5:
        return added
    for _ in range(int(rng.integers(1, _LIGHTS, endpoint=True))):
        side = int(rng.integers(*_LIGHT_PX, endpoint=True))
        top, left = (int(rng.integers(0, length)) for length in size)
        light = np.exp(rng.uniform(*np.log(_LIGHT_SUM))) * rng.uniform(0.5, 1, 3) / side**2
        added[top : top + side, left : left + side] += torch.from_numpy(light).float()
    return added


def _blurred(frames: Tensor, radius: float) -> Tensor:
    """Convolve [T, H, W, 3] with a disc whose rim is antialiased, edges repeated."""
    reach = int(np.ceil(radius))
    side = torch.arange(-reach, reach + 1, dtype=torch.float32)
    disc = (radius + 0.5 - (side[:, None] ** 2 + side**2).sqrt()).clamp(0, 1)
    kernel = (disc / disc.sum()).expand(3, 1, -1, -1)
    planes = F.pad(frames.permute(0, 3, 1, 2), (reach,) * 4, mode="replicate")
    return F.conv2d(planes, kernel, groups=3).permute(0, 2, 3, 1)
