"""What makes results look right and keeps them honest: VGG features, sharpened targets, terms against artefacts.

Clips are [B, 3, T, H, W] in [-1, 1]; every loss is a mean in float32. No score without a reference is among them:
those can be bought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.models.vgg16 import FEATURE_EPS, Vgg16
from starvsr.training.losses import luma

_CELL = 4
"""Side of the squares that a 4x head makes, in pixels."""
_WINDOW = 32
_FLOOR = 32 * (0.1 / 127.5) ** 2
"""Power, per row of a window, below which nothing is seen: about a wave of 0.1 levels."""
_PATTERN_WINDOWS = (2, 4, 8)
"""Sides of the windows in which patterns may repeat, in squares of the head."""
_LDL_WINDOW = 7
_HALO_WINDOW = 17
"""Side of the neighbourhood whose range luma is not to leave, in pixels: that of two pixels of the input each way."""


@dataclass(frozen=True)
class Excerpt:
    """The part of a batch on which costly terms are computed: one window and neighbouring frames, for all clips."""

    frames: slice
    rows: slice
    columns: slice

    def of(self, clip: Tensor) -> Tensor:
        """Cut it out of [B, 3, T, H, W]."""
        return self.window_of(clip[:, :, self.frames])

    def window_of(self, clip: Tensor) -> Tensor:
        """Cut its window out of all frames [B, 3, T, H, W]."""
        return clip[..., self.rows, self.columns]


def draw_excerpt(clip: Tensor, side: int, num_frames: int, rng: torch.Generator) -> Excerpt:
    """Draw an excerpt of at most this side and number of frames.

    Its corner may be any pixel: the features' pooling and the critic's strides have grids of 2 to 16 px, and a result
    whose own grid always lay alike on them would learn a pattern that only suits that position.
    """
    starts = []
    for size, wanted in ((clip.shape[2], num_frames), (clip.shape[3], side), (clip.shape[4], side)):
        first = int(torch.randint(0, max(size - wanted, 0) + 1, (), generator=rng))
        starts.append(slice(first, first + wanted))
    return Excerpt(*starts)


def vgg_features(network: Vgg16, clip: Tensor, *, autocast: torch.dtype | None = None) -> list[Tensor]:
    """Return the last features of the trunk's blocks, [B * T, C, H / 2^k, W / 2^k], for all frames of a clip.

    Args:
        network: frozen trunk.
        clip: [B, 3, T, H, W] in [-1, 1]; gradients reach it.
        autocast: type the trunk computes in; None for that of the clip.
    """
    frames = clip.transpose(1, 2).flatten(0, 1).add(1).mul(127.5)
    with torch.autocast(clip.device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        return network(frames)


def perceptual_distance(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the mean VGG feature distance of all frames in float32, see :func:`starvsr.models.vgg16.feature_distance`.

    By :class:`_CosineDistance`, in a third of the time: equal to it but for rounding, 1e-6 of unit-length features.

    Args:
        features: of the result, with gradient, see :func:`vgg_features`.
        wanted: of the target; gets no gradient.
    """
    return torch.stack([_CosineDistance.apply(a, b) for a, b in zip(features, wanted, strict=True)]).sum(0).mean()


def nearest(candidates: Sequence[Sequence[Tensor]], wanted: Sequence[Tensor]) -> int:
    """Return which candidate is nearest to what is wanted, the first of equals.

    Args:
        candidates: features, each as those of :func:`vgg_features`.
        wanted: of the ground truth.
    """
    return int(torch.stack([perceptual_distance(features, wanted) for features in candidates]).argmin())


class _CosineDistance(torch.autograd.Function):
    """Mean over positions of |a / |a| - b / |b||^2 = 2 - 2 cos(a, b), for features [N, C, H, W] to [N].

    Where all features are zero, their unit vector is, too.

    Three sums over channels, a frame at a time, in place of full-size quotients: activations of the first layers are
    larger than any cache. Only ``a`` gets a gradient.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        shape = (len(a), 1, *a.shape[2:])
        per_a, per_b, cosine = (torch.empty(shape, device=a.device) for _ in range(3))
        for index in range(len(a)):
            x, y = a[index : index + 1].float(), b[index : index + 1].float()
            per_a[index : index + 1] = x.square().sum(1, keepdim=True)
            per_b[index : index + 1] = y.square().sum(1, keepdim=True)
            cosine[index : index + 1] = (x * y).sum(1, keepdim=True)
        lengths = sum(square / (square + FEATURE_EPS) for square in (per_a, per_b))
        per_a, per_b = per_a.add_(FEATURE_EPS).rsqrt_(), per_b.add_(FEATURE_EPS).rsqrt_()
        cosine.mul_(per_a).mul_(per_b)
        ctx.save_for_backward(a, b, per_a, per_b, cosine)
        return (lengths - 2 * cosine).mean((1, 2, 3))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        a, b, per_a, per_b, cosine = ctx.saved_tensors
        scale = (2 / (a.shape[2] * a.shape[3])) * grad.view(-1, 1, 1, 1)
        of_a, of_b = scale * cosine * per_a.square(), scale * per_a * per_b
        made = torch.empty_like(a)
        for index in range(len(a)):
            one = slice(index, index + 1)
            made[one] = a[one] * of_a[one] - b[one] * of_b[one]
        return made, None


def sharpened(gt: Tensor, amount: float, sigma: float = 1.0) -> Tensor:
    """Return a ground truth with its fine detail strengthened where it is soft, as a target.

    Unsharp masking of the luma, weakened where edges are strong already, so that they get no haloes.

    Args:
        gt: [B, 3, T, H, W].
        amount: share of the difference to a blurred copy that is added in soft areas.
        sigma: width of the blur in pixels.
    """
    plane = luma(gt)
    detail = plane - _blurred(plane, sigma)
    size = _blurred(detail.abs(), 2 * sigma)
    added = amount * detail * torch.exp(-size / 0.04)
    return gt + added.unflatten(0, (len(gt), -1)).transpose(1, 2)


def artefact_loss(prediction: Tensor, reference: Tensor, gt: Tensor) -> Tensor:
    """Weigh absolute errors by how much they look like artefacts.

    The weight is the local variance of the error where the prediction is further from the ground truth than the
    reference, and zero elsewhere: invented texture in the wrong place counts, well placed detail does not.

    Source: locally discriminative learning (arXiv 2203.09195), with the result of a faithful network in place of that
    of averaged weights as the reference.

    Args:
        prediction: with gradient.
        reference: result of the network before it was trained for looks.
        gt: ground truth.
    """
    error, wanted = luma(gt) - luma(prediction), luma(gt) - luma(reference)
    with torch.no_grad():
        mean, square = (F.avg_pool2d(x, _LDL_WINDOW, 1, _LDL_WINDOW // 2) for x in (error, error**2))
        local = (square - mean**2).clamp(min=0)
        overall = error.flatten(1).var(1).clamp(min=1e-8) ** 0.2
        weight = local * overall[:, None, None, None] * (error.abs() >= wanted.abs())
        weight = weight / weight.mean().clamp(min=1e-8) * error.abs().mean().sqrt()
    return (weight * error.abs()).mean()


def grid_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return how much more a result stands out at the frequencies of the head's grid than the target does.

    The head enlarges by two three times, so that patterns of 4 and 8 px are what its sub-pixels can leave: lines at
    1/4 and 3/8 cycle per pixel, along rows or columns. In each window the power there is set against that of the
    frequencies beside, in logarithms, so that a faint weave in a smooth area counts as much as a strong one in
    texture; what the target has, too, is free.
    """
    excess = _standing_out(luma(prediction)) - _standing_out(luma(target).detach())
    return F.relu(excess).mean()


def _standing_out(planes: Tensor) -> Tensor:
    """Logarithm of the power at the grid's frequencies over that beside them, [2, 2, windows]; planes [N, 1, H, W]."""
    side = min(_WINDOW, *(size // _CELL * _CELL for size in planes.shape[-2:]))
    tiles = planes.unfold(2, side, side).unfold(3, side, side).flatten(0, 3)  # [windows, side, side]
    taper = torch.hann_window(side, device=planes.device)
    tiles = (tiles - tiles.mean((1, 2), keepdim=True)) * taper[:, None] * taper
    ratios = []
    for axis in (1, 2):
        power = torch.fft.rfft(tiles, dim=axis).abs().square().mean(3 - axis)  # [windows, side / 2 + 1]
        for line in (side // 4, 3 * side // 8):
            beside = power[:, [line + k for k in (-3, -2, 2, 3)]].mean(1)
            ratios.append(torch.log((power[:, line] + _FLOOR) / (beside + _FLOOR)))
    return torch.stack(ratios).unflatten(0, (2, 2))


def pattern_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return how much stronger one pattern repeats in neighbouring squares of the head than in the target.

    What a 3x3 binomial filter takes away is averaged over the squares of a window, pixel by pixel of a square: texture
    cancels, a lattice and beads along an edge stay. The root mean square of that average, window by window, is
    compared with the target's; what it has, too, is free. An adversarial term leads to such patterns: for a network
    that sees little of its result they are the least that looks like detail.
    """
    planes, wanted = luma(prediction), luma(target).detach()
    sizes = [size for size in _PATTERN_WINDOWS if size * _CELL <= min(planes.shape[-2:])]
    return torch.stack([F.relu(_repeated(planes, n) - _repeated(wanted, n)).mean() for n in sizes]).mean()


def halo_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of luma from the range that the target has in the neighbourhood.

    Texture has a wide range and is left alone. Beside a lone edge and in even areas the range is narrow, and haloes,
    rings and ghost lines leave it, whichever network they were learned from.
    """
    planes, wanted = luma(prediction), luma(target).detach()
    above = planes - _largest_around(wanted)
    below = -planes - _largest_around(-wanted)
    return F.relu(torch.maximum(above, below)).mean()


def _largest_around(planes: Tensor) -> Tensor:
    """Return the largest value of [N, 1, H, W] in the neighbourhood of each pixel."""
    reach = _HALO_WINDOW // 2
    rows = F.max_pool2d(planes, (_HALO_WINDOW, 1), 1, (reach, 0))
    return F.max_pool2d(rows, (1, _HALO_WINDOW), 1, (0, reach))


def _repeated(planes: Tensor, squares: int) -> Tensor:
    """RMS of what repeats in windows of so many squares a side that overlap by half; planes [N, 1, H, W]."""
    row = planes.new_tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row)[None, None]
    fine = planes - F.conv2d(F.pad(planes, (1, 1, 1, 1), mode="replicate"), kernel)
    height, width = (size // _CELL * _CELL for size in fine.shape[-2:])
    by_place = F.pixel_unshuffle(fine[..., :height, :width], _CELL)  # [N, 16, squares down, squares across]
    mean = F.avg_pool2d(by_place, squares, squares // 2)
    mean = mean - mean.mean(1, keepdim=True)
    return (mean.square().mean(1) + 1e-8).sqrt()


def _blurred(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [N, 1, H, W], edges repeated."""
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(planes, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
