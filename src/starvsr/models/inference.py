"""Inference in little memory, out of sight of the networks: maps that are overwritten, freed early, computed in pieces.

With gradients each function here is the plain formula that it stands for, and nothing is overwritten. Without them
the result is the same, and a map lives no longer than somebody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.chunking import (
    WHOLE,
    by_pieces,
    cuts,
    frame_cuts,
    frozen_norm,
    row_cuts,
)

Layer = Callable[[Tensor], Tensor]
Parts = TypeVar("Parts", bound=Any)
WHOLE_AXIS = slice(None)


def clip_view(features: Tensor, num_frames: int) -> Tensor:
    """View [B*T, C, h, w] as [B, C, T, h, w] without copying."""
    return features.unflatten(0, (-1, num_frames)).transpose(1, 2)


def frame_view(features: Tensor) -> Tensor:
    """View [B, C, T, h, w] as [B*T, C, h, w]; no copy for what :func:`clip_view` made."""
    return features.transpose(1, 2).flatten(0, 1)


@dataclass
class Budget:
    """How much the layers of a network work on at once without gradients; all layers of a network share one.

    Args:
        max_elements: Elements of a map.
        max_tokens: Tokens of a feed-forward.
    """

    max_elements: int = WHOLE
    max_tokens: int = 4096


class OwnedMaps:
    """Feature maps [N, C, h, w], side by side along the channels, that belong to whoever is given them.

    A layer that is given this instead of a tensor may overwrite the maps, and frees them as soon as it has read them.
    """

    def __init__(self, *maps: Tensor) -> None:
        self._maps = list(maps)

    @property
    def tensor(self) -> Tensor:
        """The one map; it stays owned."""
        (tensor,) = self._maps
        return tensor

    def take(self) -> Tensor:
        """Return the one map and forget it."""
        return self._maps.pop()

    def free(self) -> None:
        """Forget the maps."""
        self._maps.clear()

    def joined(self, frames: slice = WHOLE_AXIS) -> Tensor:
        """Return some frames of all maps in one tensor."""
        parts = [part_of(each, frames) for each in self._maps]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def with_skip(self, skip: Tensor) -> OwnedMaps:
        """Return the one map with the skip beside it, which is repeated where the map is of several texts."""
        features = self.take()
        texts = len(features) // len(skip)
        return OwnedMaps(features, skip if texts == 1 else torch.cat([skip] * texts))

    @property
    def num_frames(self) -> int:
        """Frames of all clips, N."""
        return len(self._maps[0])

    @property
    def frame_elements(self) -> int:
        """Elements of one frame of all maps."""
        return sum(each[0].numel() for each in self._maps)


Maps = Tensor | OwnedMaps
"""What a layer reads: a tensor, which stays as it is, or maps that it owns from then on."""


def part_of(whole: Parts, piece: slice) -> Parts:
    """Return a piece along the first axis; all of it is the tensor itself, so that autograd records no slice."""
    part: Parts = whole if piece == WHOLE_AXIS else whole[piece]
    return part


def keeps_gradients() -> bool:
    """Whether autograd records what is computed."""
    return torch.is_grad_enabled()


def owned(features: Maps) -> OwnedMaps:
    """Return maps to read frame by frame; a tensor is not overwritten, and freeing it changes nothing."""
    return features if isinstance(features, OwnedMaps) else OwnedMaps(features)


def writable(features: Maps) -> Tensor:
    """Return the one map as a tensor that may be overwritten: a copy of a tensor, an owned map itself."""
    if isinstance(features, OwnedMaps):
        return features.take()
    return features if keeps_gradients() else features.clone()


def add(total: Tensor, change: Tensor) -> Tensor:
    """Return ``total + change``, written into ``total`` without gradients: nobody else may read that."""
    return total + change if keeps_gradients() else total.add_(change)


def multiply(product: Tensor, factor: Tensor) -> Tensor:
    """Return ``product * factor``, written into ``product`` without gradients: nobody else may read that."""
    return product * factor if keeps_gradients() else product.mul_(factor)


class InPlaceSiLU(nn.Module):
    """SiLU of a tensor that nobody else reads, such as a norm's result: in place without gradients."""

    def forward(self, features: Tensor) -> Tensor:
        """Return x * sigmoid(x), shape as given."""
        return F.silu(features, inplace=not keeps_gradients())


def over_frames(maps: OwnedMaps, num_frames: int, budget: Budget, layer: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Apply a layer that looks at single frames, and free the maps.

    Args:
        maps: Of B clips, [B*T, C, h, w].
        num_frames: T.
        budget: What goes through at once.
        layer: Called with some frames of the maps and their place among all.
    """
    if keeps_gradients():
        return layer(maps.joined(), WHOLE_AXIS)
    pieces = [frames for frames, _ in frame_cuts(maps.num_frames, num_frames, maps.frame_elements, budget.max_elements)]
    out = by_pieces(lambda frames: layer(maps.joined(frames), frames), pieces)
    maps.free()
    return out


def add_over_frames(
    features: Tensor, num_frames: int, budget: Budget, layer: Callable[[Tensor, slice], Tensor]
) -> Tensor:
    """Return features plus what a layer that looks at single frames makes of them, in their place without gradients.

    Args:
        features: Of B clips, [B*T, C, h, w].
        num_frames: T.
        budget: What goes through at once.
        layer: Called with some frames and the clips that they belong to, a slice of 0 .. B.
    """
    if keeps_gradients():
        return features + layer(features, WHOLE_AXIS)
    for frames, clips in frame_cuts(len(features), num_frames, features[0].numel(), budget.max_elements):
        features[frames] += layer(features[frames], clips)
    return features


def add_over_rows(
    total: Tensor, stages: Sequence[tuple[nn.Module, Layer]], budget: Budget, num_frames: int | None = None
) -> Tensor:
    """Return a clip plus what stages make of it, each a norm over the clip and a layer that looks at single pixels.

    Without gradients pixels go through strip by strip, and the clip is overwritten.

    Args:
        total: [B, C, T, h, w], or [B*T, C, h, w] with ``num_frames``.
        stages: Norms, whose statistics are over the whole clip, and layers from [B, C, T, r, w] to the same.
        budget: What goes through at once.
        num_frames: T.
    """
    clip = total if num_frames is None else clip_view(total, num_frames)
    mixed = clip
    if keeps_gradients():
        for norm, layer in stages:
            mixed = layer(norm(mixed))
        return total + (mixed if num_frames is None else frame_view(mixed))
    for number, (norm, layer) in enumerate(stages, 1):
        normed = frozen_norm(norm, mixed, budget.max_elements)
        source, is_last = mixed, number == len(stages)
        if number == 1 and not is_last:
            mixed = torch.empty_like(clip)
        for rows in row_cuts(clip, budget.max_elements):
            change = layer(normed(source[..., rows, :]))
            if is_last:
                clip[..., rows, :] += change
            else:
                mixed[..., rows, :] = change
    return total


def over_pieces(layer: Layer, features: Tensor, budget: Budget, growth: int = 1) -> Tensor:
    """Apply a layer that looks at single frames [N, C, h, w]; what it makes inside is ``growth`` times as large."""
    max_elements = WHOLE if keeps_gradients() else budget.max_elements
    pieces = cuts(len(features), growth * features[0].numel(), max_elements)
    return by_pieces(lambda piece: layer(features[piece]), pieces)


def over_tokens(layer: Layer, tokens: Tensor, budget: Budget) -> Tensor:
    """Apply a layer that looks at single tokens [..., D] and keeps their shape."""
    if keeps_gradients():
        return layer(tokens)
    flat = tokens.flatten(0, -2)
    out = torch.empty_like(flat)
    for part, result in zip(flat.split(budget.max_tokens), out.split(budget.max_tokens), strict=True):
        result.copy_(layer(part))
    return out.view_as(tokens)


def over_texts(
    features: Tensor, num_texts: int, budget: Budget, look: Layer, read: Callable[[Tensor, slice], Tensor]
) -> Tensor:
    """Return one clip [T, C, h, w] plus what each of K texts changes in it, [K*T, C, h, w]; no gradient.

    Args:
        features: The clip.
        num_texts: K.
        budget: What goes through at once.
        look: What comes before the text is read, on some frames; done once for all texts.
        read: The rest, from that and the text's place among all; may overwrite what it is given.
    """
    num_frames = len(features)
    out = torch.cat([features] * num_texts)
    for frames in cuts(num_frames, features[0].numel(), budget.max_elements):
        seen = look(features[frames])
        for text in range(num_texts):
            start = text * num_frames
            own = seen.clone() if text + 1 < num_texts else seen
            out[start + frames.start : start + frames.stop] += read(own, slice(text, text + 1))
    return out


def in_turn(layers: Iterable[Layer]) -> Layer:
    """Return one layer that applies several in turn."""
    several = list(layers)

    def apply(features: Tensor) -> Tensor:
        for layer in several:
            features = layer(features)
        return features

    return apply
