"""Convolutions on large maps in little memory: in strips of rows, frame by frame, overwriting what nobody reads again.

With gradients each function is the plain formula that it stands for. Without them the result is the same: a strip is
read with the rows around it that the kernel sees, and norms take the statistics of the whole map first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.chunking import autocasts, cuts
from starvsr.models.inference import add, keeps_gradients

Layer = Callable[[Tensor], Tensor]
Stage = tuple[nn.GroupNorm, nn.Conv3d]
"""A norm over all frames of a clip, and after SiLU a (3,1,1) convolution."""


def separate_frames(maps: Tensor) -> list[Tensor]:
    """Return the maps [T, C, H, W] of a clip one by one, [1, C, H, W] each; with gradients in one piece."""
    return [maps] if keeps_gradients() else list(maps.split(1))


def each_frame(layer: Layer, frames: list[Tensor]) -> list[Tensor]:
    """Apply a layer to each map of a list, which is emptied as they are read."""
    made = []
    while frames:
        made.append(layer(frames.pop(0)))
    return made


def frame_by_frame(layer: Layer, frames: Tensor) -> Tensor:
    """Apply a layer that looks at single frames to [N, ...], one after the other."""
    if keeps_gradients() or len(frames) == 1:
        return layer(frames)
    first = layer(frames[:1])
    out = first.new_empty((len(frames), *first.shape[1:]))
    out[:1] = first
    del first
    for index in range(1, len(frames)):
        out[index : index + 1] = layer(frames[index : index + 1])
    return out


def norm_silu_conv(features: Tensor, norm: nn.GroupNorm, conv: nn.Conv2d, max_elements: int) -> Tensor:
    """Norm, SiLU and a 3x3 convolution of features [N, C, H, W], about ``max_elements`` elements at a time."""
    if keeps_gradients():
        out: Tensor = conv(F.silu(norm(features)))
        return out
    strips = cuts(features.shape[2], features[:, :, 0].numel(), max_elements)
    if len(strips) == 1:
        return conv(F.silu(norm(features), inplace=True))
    normed = frozen_norm(norm, *statistics([features], norm.num_groups, max_elements))
    return _in_strips(features, strips, 1, 1, lambda part: conv(F.silu(normed(part), inplace=True)))


def over_rows(layer: Layer, features: Tensor, max_elements: int, *, halo: int, scale: int) -> Tensor:
    """Apply a layer to features [N, C, H, W], some rows at a time.

    Args:
        layer: Sees ``halo`` rows around its own and makes ``scale`` rows and columns of each.
        features: The map.
        max_elements: Elements of what is made of a strip, about.
        halo: See ``layer``.
        scale: See ``layer``.
    """
    strips = cuts(features.shape[2], scale**2 * features[:, :, 0].numel(), max_elements)
    if keeps_gradients() or len(strips) == 1:
        return layer(features)
    return _in_strips(features, strips, halo, scale, layer)


def add_pixelwise(total: Tensor, features: Tensor, layer: Layer | None, max_elements: int) -> Tensor:
    """Return total [N, C', H, W] plus what a layer that looks at single pixels makes of features [N, C, H, W].

    Args:
        total: Overwritten without gradients.
        features: The map.
        layer: None adds the features themselves.
        max_elements: Elements of a strip, about.
    """
    if layer is None:
        return add(total, features)
    if keeps_gradients():
        return total + layer(features)
    for rows in cuts(features.shape[2], features[:, :, 0].numel(), max_elements):
        total[:, :, rows] += layer(features[:, :, rows])
    return total


def add_over_time(frames: list[Tensor], first: Stage, second: Stage, share: Tensor, max_elements: int) -> list[Tensor]:
    """Return the maps of a clip plus ``share`` times what two stages make of them, in place without gradients.

    What lies between the stages is computed twice, once for the statistics of the second norm, rather than held.

    Args:
        frames: As `separate_frames` gives them.
        first: The first stage.
        second: The second stage.
        share: Scalar.
        max_elements: Elements of a strip of all frames, about.
    """
    if keeps_gradients():
        (clip,) = frames
        return [clip + share * _whole_stage(_whole_stage(clip, first), second)]
    (norm1, conv1), (norm2, conv2) = first, second
    groups = norm1.num_groups
    normed = frozen_norm(norm1, *statistics(frames, groups, max_elements))
    strips = cuts(frames[0].shape[2], len(frames) * frames[0][0, :, 0].numel(), max_elements)

    def between(rows: slice) -> Tensor:
        return _silu_conv_over_time(normed(torch.cat([frame[:, :, rows] for frame in frames])), conv1)

    kept = between(strips[0]) if len(strips) == 1 else None
    sizes, pairs = [], []
    for rows in strips:
        inner = between(rows) if kept is None else kept
        pairs.append(group_statistics(inner.float(), groups))
        sizes.append(inner[:, 0].numel())
        del inner
    renormed = frozen_norm(norm2, *joined_statistics(pairs, sizes, frames[0].shape[1]))
    for rows in strips:  # each strip depends on itself alone, so it can be overwritten
        change = _silu_conv_over_time(renormed(between(rows) if kept is None else kept), conv2).mul_(share)
        for frame, added in zip(frames, change.split(1), strict=True):
            frame[:, :, rows] += added
    return frames


def _whole_stage(frames: Tensor, stage: Stage) -> Tensor:
    norm, conv = stage
    clip = frames.transpose(0, 1)[None]
    out: Tensor = conv(F.silu(norm(clip)))
    return out[0].transpose(0, 1)


def _silu_conv_over_time(normed: Tensor, conv: nn.Conv3d) -> Tensor:
    """SiLU, in place, and (3,1,1) convolution of normed rows [T, C, r, W]."""
    active = F.silu(normed, inplace=True)
    flat = active.transpose(0, 1).flatten(2)[None]  # [1, C, T, r*W]: the convolution is 2-D with a flat kernel
    out = F.conv2d(flat, conv.weight[..., 0], conv.bias, padding=(1, 0))
    return out[0].unflatten(2, normed.shape[2:]).transpose(0, 1)


def _in_strips(features: Tensor, strips: list[slice], halo: int, scale: int, layer: Layer) -> Tensor:
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


def statistics(frames: list[Tensor], groups: int, max_elements: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel's group over frames [N, C, H, W], in float32, [C] each.

    Shorter number types are read ``max_elements`` elements at a time, so that float32 copies stay small.
    """
    pairs, sizes = [], []
    for frame in frames:
        values = 0 if frame.dtype == torch.float32 else frame[:, :, 0].numel()
        for rows in cuts(frame.shape[2], values, max_elements):
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


def frozen_norm(norm: nn.GroupNorm, mean: Tensor, variance: Tensor) -> Layer:
    """Return the norm of any part [N, C, ...] of maps whose statistics are known."""
    weight, bias = norm.weight.float(), norm.bias.float()

    def apply(part: Tensor) -> Tensor:
        if autocasts(part):
            part = part.float()  # as autocast does with norms
        return F.batch_norm(part, mean, variance, weight, bias, False, 0.0, norm.eps)

    return apply
