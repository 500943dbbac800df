"""The autoencoder's decoder in strips of rows: the pictures of the whole frame, with one map of it in memory.

A group norm needs statistics of the whole map, so a frame cannot be cut into tiles that are decoded alone: each would
be normalised differently. Here layers are computed on strips of rows, with the rows beside them that a convolution
reads, and only the results of residual blocks are kept; what lies between is computed once for the statistics of a norm
and again for the result. That takes about half as much work again in convolutions, and gives the same picture but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_ELEMENTS = 1 << 26
"""Elements of a strip of one map, at most: 256 MB in float32."""
LEAST_ROWS = 8
"""Of a strip: more than a residual block reads beside its own."""


class Rows(Protocol):
    """A map [1, C, H, W] whose rows are at hand or computed when they are asked for."""

    @property
    def size(self) -> tuple[int, int, int]:
        """C, H, W."""
        ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [1, C, stop - start, W], 0 <= start < stop <= H; not to be written to."""
        ...


@dataclass(frozen=True, eq=False)
class Stored:
    """A map in memory."""

    map: Tensor

    @property
    def size(self) -> tuple[int, int, int]:
        """See `Rows`."""
        _, channels, height, width = self.map.shape
        return channels, height, width

    def rows(self, start: int, stop: int) -> Tensor:
        """See `Rows`."""
        return self.map[:, :, start:stop]


@dataclass(frozen=True, eq=False)
class Doubled:
    """Each pixel of a map four times."""

    source: Rows

    @property
    def size(self) -> tuple[int, int, int]:
        """See `Rows`."""
        channels, height, width = self.source.size
        return channels, 2 * height, 2 * width

    def rows(self, start: int, stop: int) -> Tensor:
        """See `Rows`."""
        first = start // 2
        strip = F.interpolate(self.source.rows(first, -(-stop // 2)), scale_factor=2.0, mode="nearest")
        return strip[:, :, start - 2 * first : stop - 2 * first]


@dataclass(frozen=True, eq=False)
class Convolved:
    """A map through a 3x3 convolution, before that through a norm with given statistics and SiLU."""

    source: Rows
    layer: nn.Conv2d
    norm: Callable[[Tensor], Tensor] | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """See `Rows`."""
        return (self.layer.out_channels, *self.source.size[1:])

    def rows(self, start: int, stop: int) -> Tensor:
        """See `Rows`."""
        height = self.source.size[1]
        first, last = max(0, start - 1), min(height, stop + 1)
        strip = self.source.rows(first, last)
        if self.norm is not None:
            strip = F.silu(self.norm(strip), inplace=True)
        if last - first < stop - start + 2:  # beyond the frame there are zeros
            strip = F.pad(strip, (0, 0, first - start + 1, stop + 1 - last))
        return F.conv2d(strip, self.layer.weight, self.layer.bias, padding=(0, 1))


@dataclass(frozen=True, eq=False)
class Residual:
    """A map plus what a branch makes of it."""

    source: Rows
    shortcut: nn.Module | None
    branch: Rows
    scale: float

    @property
    def size(self) -> tuple[int, int, int]:
        """See `Rows`."""
        return self.branch.size

    def rows(self, start: int, stop: int) -> Tensor:
        """See `Rows`."""
        added, given = self.branch.rows(start, stop), self.source.rows(start, stop)
        return added.add_(given if self.shortcut is None else self.shortcut(given)).div_(self.scale)


def decode_in_strips(decoder: Any, latent: Tensor, max_elements: int = MAX_ELEMENTS) -> Tensor:
    """Return what a decoder makes of its input.

    Args:
        decoder: ``Decoder`` of diffusers' ``AutoencoderKL``, for which `can_be_cut` is true.
        latent: [1, C, h, w], behind ``post_quant_conv``.
        max_elements: Elements of a strip of one map, at most.

    Returns:
        [1, 3, H, W], in the number type of the weights.
    """
    found: Rows = Stored(decoder.conv_in(latent))
    middle = decoder.mid_block
    found = _block(found, middle.resnets[0], max_elements)
    for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
        if attention is not None:
            found = Stored(attention(found.map))
        found = _block(found, block, max_elements)
    for up in decoder.up_blocks:
        for block in up.resnets:
            found = _block(found, block, max_elements)
        for upsampler in up.upsamplers or ():
            found = Convolved(Doubled(found), upsampler.conv)
    norm = _frozen(decoder.conv_norm_out, found, max_elements)
    return _stored(Convolved(found, decoder.conv_out, norm), max_elements).map


def can_be_cut(decoder: Any) -> bool:
    """Whether a decoder has the layers that `decode_in_strips` knows, and no others."""
    if any(type(up).__name__ != "UpDecoderBlock2D" for up in decoder.up_blocks):
        return False
    blocks = [*decoder.mid_block.resnets, *(block for up in decoder.up_blocks for block in up.resnets)]
    upsamplers = [each for up in decoder.up_blocks for each in up.upsamplers or ()]
    norms = [decoder.conv_norm_out, *(norm for each in blocks for norm in (each.norm1, each.norm2))]
    layers = [*(each.conv1 for each in blocks), *(getattr(each, "conv", None) for each in upsamplers)]
    return (
        all(isinstance(norm, nn.GroupNorm) for norm in norms)
        and all(isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) for layer in layers)
        and all(each.upsample is None and each.downsample is None and each.time_emb_proj is None for each in blocks)
        and all(each.norm is None for each in upsamplers)
    )


def _block(source: Rows, block: Any, max_elements: int) -> Stored:
    """Run a residual block; where the sizes are the same its result takes the place of its input."""
    inner = Convolved(source, block.conv1, _frozen(block.norm1, source, max_elements))
    branch = Convolved(inner, block.conv2, _frozen(block.norm2, inner, max_elements))
    result = Residual(source, block.conv_shortcut, branch, float(block.output_scale_factor))
    into = source.map if isinstance(source, Stored) and source.size == result.size else None
    return _stored(result, max_elements, into)


def _stored(source: Rows, max_elements: int, into: Tensor | None = None) -> Stored:
    """Compute a map strip by strip.

    Args:
        source: The map.
        max_elements: Elements of a strip, at most.
        into: Where it goes: memory that the strips behind may still be computed from, so each waits for the next one.
    """
    waiting: tuple[slice, Tensor] | None = None
    for part in _strips(source, max_elements):
        strip = source.rows(part.start, part.stop)
        if into is None:
            into = strip.new_empty(1, *source.size)
        if waiting is not None:
            into[:, :, waiting[0]] = waiting[1]
        waiting = part, strip
    assert into is not None and waiting is not None
    into[:, :, waiting[0]] = waiting[1]
    return Stored(into)


def _strips(source: Rows, max_elements: int) -> Iterator[slice]:
    channels, height, width = source.size
    count = max(LEAST_ROWS, max_elements // (channels * width))
    parts = [slice(start, min(start + count, height)) for start in range(0, height, count)]
    if len(parts) < 4 or not _is_meta(source):
        return iter(parts)
    return iter([*parts[:3], parts[-1]])  # of shapes without values these tell all


def _is_meta(source: Any) -> bool:
    while not isinstance(source, Stored):
        source = source.source
    return source.map.device.type == "meta"


def _frozen(norm: nn.GroupNorm, source: Rows, max_elements: int) -> Callable[[Tensor], Tensor]:
    """Return a group norm for strips with the statistics of the whole map."""
    counts, found = [], []
    for part in _strips(source, max_elements):
        strip = source.rows(part.start, part.stop)[0].float()
        found.append(torch.stack(torch.var_mean(strip, (1, 2), correction=0)))
        counts.append(part.stop - part.start)
    variances, means = torch.stack(found, 1).double().unbind(0)
    shares = torch.tensor(counts, dtype=torch.float64, device=means.device)[:, None] / sum(counts)
    mean, variance = _joined(means, variances, shares, 0)  # of each channel
    each = norm.num_channels // norm.num_groups
    mean, variance = _joined(mean.view(-1, each), variance.view(-1, each), 1 / each, 1)  # of each group
    running = [value.float().repeat_interleave(each) for value in (mean, variance)]
    weight, bias = norm.weight.float(), norm.bias.float()

    def apply(strip: Tensor) -> Tensor:
        made = F.batch_norm(strip.float(), running[0], running[1], weight, bias, False, 0.0, norm.eps)
        return made.to(strip.dtype)

    return apply


def _joined(means: Tensor, variances: Tensor, shares: Tensor | float, dim: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance of parts together."""
    mean = (shares * means).sum(dim, keepdim=True)
    variance = (shares * (variances + (means - mean).square())).sum(dim)
    return mean.squeeze(dim), variance
