"""How large maps are cut into pieces, so that what lies between two layers stays small. Inference only.

Frames are independent in the spatial layers, pixels in the temporal ones: the first are cut between frames, the second
between rows. Norms over a whole clip take their statistics first and are then applied strip by strip.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WHOLE = 1 << 62
"""As the largest number of elements: never cut."""

Norm = Callable[[Tensor], Tensor]


def cuts(length: int, elements_each: int, max_elements: int) -> list[slice]:
    """Cut an axis into slices of at most ``max_elements`` elements, but one index at least."""
    step = min(length, max(1, max_elements // max(1, elements_each)))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def frame_cuts(total: int, num_frames: int, elements_each: int, max_elements: int) -> list[tuple[slice, slice]]:
    """Cut the frames of clips that lie one after the other; a piece is of one clip, unless it is all of them.

    Args:
        total: Frames of all B clips, B*T.
        num_frames: T.
        elements_each: Elements of a frame.
        max_elements: Elements of a piece, at most, but one frame at least.

    Returns:
        For each piece its frames, and the clips [0, B) that they belong to.
    """
    clips = total // num_frames
    if total * elements_each <= max_elements:
        return [(slice(0, total), slice(0, clips))]
    return [
        (slice(clip * num_frames + part.start, clip * num_frames + part.stop), slice(clip, clip + 1))
        for clip in range(clips)
        for part in cuts(num_frames, elements_each, max_elements)
    ]


def by_pieces(layer: Callable[[slice], Tensor], pieces: list[slice]) -> Tensor:
    """Join what a layer makes of each piece of the frames; one piece is passed through as it is."""
    first = layer(pieces[0])
    if len(pieces) == 1:
        return first
    form = torch.channels_last if first.ndim == 4 else torch.contiguous_format
    shape = (pieces[-1].stop, *first.shape[1:])
    out = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=form)
    out[pieces[0]] = first
    del first
    for piece in pieces[1:]:
        out[piece] = layer(piece)
    return out


def row_cuts(clip: Tensor, max_elements: int) -> list[slice]:
    """Cut the rows of a clip [B, C, T, h, w]."""
    return cuts(clip.shape[3], clip[:, :, :, 0].numel(), max_elements)


def frozen_norm(norm: nn.Module, clip: Tensor, max_elements: int) -> Norm:
    """Return a norm for strips [B, C, T, r, w] of a clip's rows with the statistics of the whole clip [B, C, T, h, w].

    The statistics of a GroupNorm are taken now; the result is fresh memory.
    """
    if not isinstance(norm, nn.GroupNorm) or len(row_cuts(clip, max_elements)) == 1:
        return norm
    mean, variance = _statistics(clip, norm.num_groups, max_elements)
    weight, bias = norm.weight.float(), norm.bias.float()

    def apply(strip: Tensor) -> Tensor:
        if autocasts(strip):
            strip = strip.float()  # as autocast does with norms
        parts = [
            F.batch_norm(item.transpose(0, 1), mean[i], variance[i], weight, bias, False, 0.0, norm.eps)
            for i, item in enumerate(strip)
        ]
        out = parts[0][None] if len(parts) == 1 else torch.stack(parts)
        return out.transpose(1, 2)

    return apply


def autocasts(part: Tensor) -> bool:
    """Whether autocast is on where a tensor lies."""
    return part.device.type != "meta" and torch.is_autocast_enabled(part.device.type)


def _statistics(clip: Tensor, groups: int, max_elements: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel's group over frames and pixels, in float32, [B, C] each."""
    batch, channels, num_frames = clip.shape[:3]
    frames = clip.transpose(1, 2)  # [B, T, C, h, w]
    means = torch.empty(2, batch, num_frames, groups, device=clip.device)
    for piece in cuts(num_frames, frames[:, 0].numel(), max_elements):
        part = frames[:, piece].float().unflatten(2, (groups, -1))
        means[1, :, piece], means[0, :, piece] = torch.var_mean(part, dim=(3, 4, 5), correction=0)
    mean = means[0].mean(1)
    variance = means[1].mean(1) + (means[0] - mean[:, None]).square().mean(1)
    each = channels // groups
    return mean.repeat_interleave(each, 1), variance.repeat_interleave(each, 1)
