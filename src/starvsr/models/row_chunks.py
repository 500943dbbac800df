"""Exact inference of convolutions in strips of rows: what lies between two maps is never held whole.

A strip is read with the rows around it that the kernel sees, so the result is that of the whole map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.chunking import autocasts, cuts

Layer = Callable[[Tensor], Tensor]


def norm_silu_conv(features: Tensor, norm: nn.GroupNorm, conv: nn.Conv2d, at_once: int) -> Tensor:
    """Norm, SiLU and a 3x3 convolution of features [N, C, H, W], about ``at_once`` values at a time."""
    strips = cuts(features.shape[2], features[:, :, 0].numel(), at_once)
    if len(strips) == 1:
        return conv(F.silu(norm(features), inplace=True))
    normed = settled_frames(norm, *statistics([features], norm.num_groups, at_once))
    return in_strips(features, strips, 1, 1, lambda part: conv(F.silu(normed(part), inplace=True)))


def in_strips(features: Tensor, strips: list[slice], halo: int, scale: int, layer: Layer) -> Tensor:
    """Apply a layer that sees ``halo`` rows around its own and makes ``scale`` rows of each, to [N, C, H, W]."""
    out: Tensor | None = None
    height = features.shape[2]
    for rows in strips:
        low, high = max(0, rows.start - halo), min(height, rows.stop + halo)
        made = layer(features[:, :, low:high])
        if out is None:
            out = made.new_empty((*made.shape[:2], scale * height, made.shape[3]))
        first = scale * (rows.start - low)
        out[:, :, scale * rows.start : scale * rows.stop] = made[:, :, first : first + scale * (rows.stop - rows.start)]
    assert out is not None
    return out


def statistics(frames: list[Tensor], groups: int, at_once: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel's group over frames [N, C, H, W], in float32, [C] each.

    Shorter number types are read ``at_once`` values at a time, so that float32 copies stay small.
    """
    pairs, sizes = [], []
    for frame in frames:
        values = 0 if frame.dtype == torch.float32 else frame[:, :, 0].numel()
        for rows in cuts(frame.shape[2], values, at_once):
            part = frame[:, :, rows].float()
            pairs.append(group_statistics(part, groups))
            sizes.append(part[:, 0].numel())
    return joined_statistics(pairs, sizes, frames[0].shape[1])


def group_statistics(part: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Variance and mean [groups] of a part [N, C, r, W] of maps."""
    variance, mean = torch.var_mean(part.unflatten(1, (groups, -1)), dim=(0, 2, 3, 4), correction=0)
    return variance, mean


def joined_statistics(pairs: list[tuple[Tensor, Tensor]], sizes: list[int], channels: int) -> tuple[Tensor, Tensor]:
    """Join (variance, mean) [groups] of parts of the given sizes; mean and variance [channels]."""
    share = torch.tensor(sizes, dtype=torch.float32, device=pairs[0][0].device)[:, None] / sum(sizes)
    variances, means = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    each = channels // len(mean)
    return mean.repeat_interleave(each), variance.repeat_interleave(each)


def settled_frames(norm: nn.GroupNorm, mean: Tensor, variance: Tensor) -> Layer:
    """Return the norm of any part [N, C, ...] of maps whose statistics are known."""
    weight, bias = norm.weight.float(), norm.bias.float()

    def apply(part: Tensor) -> Tensor:
        if autocasts(part):
            part = part.float()  # as autocast does with norms
        return F.batch_norm(part, mean, variance, weight, bias, False, 0.0, norm.eps)

    return apply
