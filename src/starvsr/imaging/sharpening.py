"""Adaptive sharpening of finished frames: networks that learn the mean of the possible leave fine texture too weak.

What is finer than a Gaussian blur of a few pixels is made stronger where there is little of it, not at strong edges,
which would get haloes, and not where there is next to nothing, which is rounding. Only the luma changes, by the same
step in red, green and blue: gray stays gray.

A pattern that repeats in every square of ``scale`` pixels is taken out, and waves of that period do not grow: the input
holds nothing so fine, so they come from the sub-pixel convolution of the network.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BLUR_PX = 1.5
"""Standard deviation of the blur. What it leaves are waves of some 3 to 12 px."""
MOST = 2.0
"""What is added of the fine part at strength 1, where there is least of it."""
EDGE, NOISE = 0.02, 0.001
"""Root of the mean square of the fine part, of a range of 1, above which it counts as an edge, and below as noise: at
either half of that is added."""
PATTERN = 0.008
"""Size of the fine part (root of the mean square) at which a square counts by half for the repeating pattern."""
HALO = 0.02
"""How far a pixel may leave the range of what is around it."""
CELLS = 13
"""Side of the neighbourhood over which the repeating pattern is averaged, in squares."""

_LUMA = (0.299, 0.587, 0.114)
_FULL = 65535.0
_BAND = 192
"""Rows of a frame at a time."""
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def sharpen_frame(codes: NDArray[np.uint16], strength: float, scale: int) -> NDArray[np.uint16]:
    """Return a frame with its fine texture made stronger.

    Args:
        codes: uint16 [H, W, 3] over 0..65535, sides multiples of ``scale``; it is not changed.
        strength: 0 changes nothing, 1 is the strength that was chosen by measurement; more is possible.
        scale: Enlargement by the network, in pixels of the result for one of the input.

    Returns:
        Codes of the same shape.
    """
    if strength <= 0:
        return codes.copy()
    height = codes.shape[0]
    found = np.empty_like(codes)
    around = _reach(scale)
    for start in range(0, height, _BAND // scale * scale):
        stop = min(start + _BAND // scale * scale, height)
        top, bottom = max(0, start - around), min(height, stop + around)
        rgb = torch.from_numpy(codes[top:bottom].astype(np.float32))
        step = _step(rgb @ torch.tensor(_LUMA) / _FULL, strength, scale)
        rgb.add_(step[..., None], alpha=_FULL).add_(0.5).clamp_(0, _FULL)
        found[start:stop] = rgb[start - top : stop - top].numpy().astype(np.uint16)
    return found


def _reach(scale: int) -> int:
    """Return how many rows around a row its step depends on, a multiple of ``scale``."""
    squares = CELLS // 2 + 5  # of the pattern; of the energy, with its interpolation, and of the filter behind it
    return (squares + math.ceil(_radius() / scale)) * scale


def _radius() -> int:
    return math.ceil(3 * BLUR_PX)


def _step(luma: Tensor, strength: float, scale: int) -> Tensor:
    """Return what is added to the luma [H, W], both of a range of 1."""
    taps = torch.exp(-((torch.arange(-_radius(), _radius() + 1) / BLUR_PX) ** 2) / 2)
    fine = luma - _filtered(luma, (taps / taps.sum()).tolist())
    pattern = _pattern(fine, scale)
    fine -= pattern
    energy = F.avg_pool2d(fine.square()[None], scale)[0]
    power = _filtered(energy, _BINOMIAL)
    gain = strength * MOST * EDGE**2 / (EDGE**2 + power) * power / (power + NOISE**2)
    wide = F.interpolate(gain[None, None], scale_factor=scale, mode="bilinear", align_corners=False)[0, 0]
    plain = luma - pattern
    fine = _filtered(fine, _without_squares(scale))  # what the average left of the pattern does not grow
    return _within_range(fine.mul_(wide).add_(plain), plain, scale).sub_(luma)


def _within_range(luma: Tensor, plain: Tensor, scale: int) -> Tensor:
    """Keep a luma [H, W], in place, from leaving the range that another one has in 3x3 squares by more than a halo."""
    height, width = luma.shape
    shape = (height // scale, scale, width // scale, scale)
    squares, values = plain.view(shape), luma.view(shape)
    least, most = (
        sign * F.max_pool2d((sign * squares).amax((1, 3))[None], 3, stride=1, padding=1)[0] for sign in (-1, 1)
    )
    torch.maximum(values, least.sub_(HALO)[:, None, :, None], out=values)
    torch.minimum(values, most.add_(HALO)[:, None, :, None], out=values)
    return luma


def _pattern(fine: Tensor, scale: int) -> Tensor:
    """Return the part of [H, W] that repeats in every square, as it is around each place.

    Squares count by how faint their fine part is: an edge that runs along a column of squares repeats, too.
    """
    places = F.pixel_unshuffle(fine[None], scale)  # [scale^2, h, w]
    places -= places.mean(0, keepdim=True)
    counts = 1 / (1 + (places.square().mean(0) / PATTERN**2).square())
    mean = [1 / CELLS] * CELLS
    around = _filtered(places * counts, mean) / _filtered(counts, mean).add_(1e-4)
    return F.pixel_shuffle(around, scale)[0]


def _without_squares(scale: int) -> list[float]:
    """Return taps of a filter that lets no wave through of which squares hold a whole number."""
    box = [1 / scale] * scale
    return box if scale % 2 else [(a + b) / 2 for a, b in zip([0, *box], [*box, 0], strict=True)]


def _filtered(planes: Tensor, taps: list[float] | tuple[float, ...]) -> Tensor:
    """Filter [..., H, W] along both sides by symmetric taps, borders repeated."""
    radius = len(taps) // 2
    for side in (-1, -2):
        length = planes.shape[side]
        wide = planes.index_select(side, torch.arange(-radius, length + radius).clamp_(0, length - 1))
        planes = wide.narrow(side, radius, length) * taps[radius]
        for index in range(radius):
            planes.add_(wide.narrow(side, index, length), alpha=taps[index])
            planes.add_(wide.narrow(side, 2 * radius - index, length), alpha=taps[index])
    return planes
