"""Layers of star-small as they run in one step: fixed inputs and plain sums are folded into their weights.

Each is built from a trained layer, whose weights it copies, and gives the same up to rounding. All maps are frames
[T, C, h, w] of one clip in channels-last memory.
"""

from __future__ import annotations

import copy
import itertools
from functools import partial
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.models.inference import clip_view, frame_view
from starvsr.models.star.attention import Attention
from starvsr.models.star.blocks import ResBlock, TemporalConvBlock, Upsample, enlarged_rows
from starvsr.models.workers import Workers

Module = TypeVar("Module", bound=nn.Module)

CHUNK_PX = 14_000
"""Positions of a piece for a residual block: maps of this size stay in a core's cache."""
STRIP_PX = 28_000
"""Positions of a piece where frames are cut into strips of rows: more, as the rows around a strip are done twice."""
CHUNK_TOKENS = 5_000
"""Tokens of a piece for a transformer, for the same reason."""
STRIP_VALUES = 250_000
"""Values of a piece for the temporal convolutions: some rows of all frames."""
_TOGETHER = 4
"""Parts of equal size come in multiples of this."""
WORTH_SHARING_PX = 3_500
"""Positions from which on frames are shared out among threads though a core's cache would hold them all."""
HALO = 2
"""Rows on each side that a strip of rows must be given for a residual block, which has two 3x3 convolutions."""
LAST = torch.channels_last


class FusedResBlock(nn.Module):
    """A ResBlock with its time embedding in the biases; its spatial and temporal halves can run apart."""

    def __init__(self, block: ResBlock, embedding: Tensor) -> None:
        """Fold the time embedding [1, D] into a copy of a block."""
        super().__init__()
        norm, _, conv = block.in_layers
        self.norm1, self.conv1 = copied(norm), copied(cast(nn.Conv2d, conv))
        bias_of(self.conv1).data.add_(block.emb_layers(embedding)[0])
        self.norm2, self.conv2 = copied(block.out_layers[0]), copied(cast(nn.Conv2d, block.out_layers[3]))
        self.skip = None if isinstance(block.skip_connection, nn.Identity) else copied(block.skip_connection)
        self.temporal = FusedTemporalConv(block.temopral_conv if block.has_temporal else None)

    def spatial(self, features: Tensor) -> Tensor:
        """Return [N, cout, h, w] for [N, cin, h, w]: the layers that look at single frames."""
        hidden = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(features), inplace=True))), inplace=True))
        return hidden.add_(features if self.skip is None else self.skip(features))

    def forward(self, pool: Workers, *parts: Tensor) -> Tensor:
        """Return [T, cout, h, w] for one clip's maps [T, ., h, w], which are taken side by side."""
        count, _, height, width = parts[0].shape
        hidden = new_maps(parts[0], (count, self.conv2.out_channels, height, width))

        def piece(frames: slice, rows: slice) -> None:
            around = with_halo(rows, HALO, height)
            part = [map_[frames, :, around] for map_ in parts]
            made = self.spatial(part[0] if len(part) == 1 else torch.cat(part, 1))
            hidden[frames, :, rows] = made[:, :, inside(rows, around)]

        pool.run(partial(piece, *cut) for cut in pieces_of(count, height, width))
        return self.temporal(pool, hidden)


def new_maps(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return maps [T, C, h, w] to be filled, channels last."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=LAST)


def even_parts(count: int, at_most: int) -> list[slice]:
    """Cut ``count`` items into parts of about equal size, of ``at_most`` items each, at least one.

    There are 4, 8, 12 ... of them where there are enough items: two or four threads then end at about the same time.
    """
    parts = -(-count // max(1, at_most))
    if parts > 1:
        parts = min(count, -(-parts // _TOGETHER) * _TOGETHER)
    return [slice(count * number // parts, count * (number + 1) // parts) for number in range(parts)]


def frame_parts(features: Tensor, positions: int) -> list[slice]:
    """Cut the frames of maps [T, C, h, w] into parts that hold about so many positions each."""
    return _shared_frames(len(features), features.shape[-2] * features.shape[-1], positions)


def _shared_frames(count: int, area: int, positions: int) -> list[slice]:
    """Cut ``count`` frames of ``area`` positions into parts of about so many positions; small work stays whole."""
    at_most = positions // area
    if count * area >= WORTH_SHARING_PX:
        at_most = min(at_most, count // 2)
    return even_parts(count, at_most)


def are_whole(height: int, width: int) -> bool:
    """Whether pieces of maps of this size are whole frames."""
    return height * width <= STRIP_PX


def pieces_of(count: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """Cut maps into pieces that go to a thread each: (frames, rows), some whole frames or some rows of one."""
    if are_whole(height, width):
        return [(frames, slice(0, height)) for frames in _shared_frames(count, height * width, CHUNK_PX)]
    strips = min(height, -(-height * width // STRIP_PX))
    borders = [height * number // strips for number in range(strips + 1)]
    return [(slice(i, i + 1), slice(*rows)) for i in range(count) for rows in itertools.pairwise(borders)]


def with_halo(rows: slice, halo: int, height: int) -> slice:
    """Return the rows with those that lie up to ``halo`` above and below them, as far as there are any."""
    return slice(max(0, rows.start - halo), min(height, rows.stop + halo))


def inside(rows: slice, around: slice) -> slice:
    """Return where the rows lie within those ``around`` them."""
    return slice(rows.start - around.start, rows.stop - around.start)


class FusedTemporalConv(nn.Module):
    """The temporal half of a ResBlock. Pixels are apart, so that a few rows of all frames go through at once."""

    def __init__(self, block: TemporalConvBlock | None) -> None:
        """Copy the stages of a block; None changes nothing."""
        super().__init__()
        stages = [] if block is None else [block.get_submodule(f"conv{n}") for n in range(1, block.stages + 1)]
        layers = [[*cast(nn.Sequential, stage).children()] for stage in stages]
        self.norms = nn.ModuleList(copied(stage[0]) for stage in layers)
        self.convs = nn.ModuleList(copied(stage[-1]) for stage in layers)

    @property
    def reach(self) -> int:
        """How many frames before and behind a frame its result depends on."""
        return len(self.convs)

    def forward(self, pool: Workers, frames: Tensor) -> Tensor:
        """Change [T, C, h, w] in place, and return it."""
        count, channels, height, width = frames.shape

        def piece(rows: slice) -> None:
            strip = frames[..., rows, :]
            mixed = strip
            for norm, conv in zip(self.norms, self.convs, strict=True):
                mixed = frame_view(conv(clip_view(F.silu(norm(mixed), inplace=True), count)))
            strip += mixed

        if self.reach:
            pool.run(partial(piece, rows) for rows in even_parts(height, STRIP_VALUES // (count * channels * width)))
        return frames


class SelfAttention(nn.Module):
    """Attention of tokens to themselves with one projection for queries, keys and values."""

    def __init__(self, attention: Attention) -> None:
        """Join the projections of an attention."""
        super().__init__()
        self.head_dim = attention.head_dim
        projections = (attention.to_q, attention.to_k, attention.to_v)
        self.weight = nn.Parameter(torch.cat([projection.weight for projection in projections]))
        self.to_out = copied(attention.to_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [N, L, D] for tokens [N, L, D]."""
        heads = F.linear(tokens, self.weight).unflatten(-1, (3, -1, self.head_dim))  # [N, L, 3, h, d]
        query, key, value = heads.transpose(1, 3).unbind(2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


class FixedAttention(nn.Module):
    """Attention of tokens to a context that never changes: two small layers with a softmax over the context between."""

    def __init__(self, attention: Attention, context: Tensor) -> None:
        """Fold a context [1, M, E] into the weights of an attention."""
        super().__init__()
        key, value = (part[0] for part in attention.keys_and_values(context))  # [h, M, d]
        self.heads, head_dim = key.shape[0], attention.head_dim
        project, _ = attention.to_out
        assert isinstance(project, nn.Linear)
        queries = attention.to_q.weight.unflatten(0, (self.heads, head_dim))  # [h, d, D]
        outputs = project.weight.unflatten(1, (self.heads, head_dim))  # [D, h, d]
        self.to_scores = _linear((key @ queries).flatten(0, 1) * head_dim**-0.5, None)
        self.to_out = _linear(torch.einsum("ohd,hmd->ohm", outputs, value).flatten(1), project.bias)

    def forward(self, tokens: Tensor, _context: object = None) -> Tensor:
        """Return [N, L, D] for tokens [N, L, D]; the context is the one of the start."""
        shares = self.to_scores(tokens).unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        out: Tensor = self.to_out(shares)
        return out


class FusedUpsample(nn.Module):
    """Upsample by 2: repetition and convolution as four 2x2 convolutions, one for each place in a 2x2 square."""

    def __init__(self, upsample: Upsample) -> None:
        """Sum the weights of a layer that meet the same pixel."""
        super().__init__()
        self.conv = copied(upsample.conv)
        weight = upsample.conv.weight
        rows = {0: (weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]),
                1: (weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2])}  # fmt: skip
        kernels = []
        for first, second in rows.values():
            both = torch.stack([first, second], 2)  # [O, I, 2, 3]
            kernels.append(torch.stack([both[..., 0], both[..., 1] + both[..., 2]], 3))
            kernels.append(torch.stack([both[..., 0] + both[..., 1], both[..., 2]], 3))
        self.phases = convolution(torch.cat(kernels), bias_of(upsample.conv).repeat(4), padding=(0, 1))

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return self.conv.out_channels

    def forward(self, pool: Workers, features: Tensor) -> Tensor:
        """Return [T, C, 2h - 2, 2w] for features [T, C, h, w]."""
        count, _, height, width = features.shape
        out = new_maps(features, (count, self.channels, 2 * height - 2, 2 * width))
        whole = slice(0, out.shape[2])
        parts = frame_parts(features, CHUNK_PX)
        pool.run(partial(self.rows, features[part], out[part], whole) for part in parts)
        return out

    def rows(self, features: Tensor, out: Tensor, rows: slice) -> None:
        """Write the rows of the result for features [N, C, h, w] into ``out``, [N, C, those rows, 2w]."""
        height, width = features.shape[-2:]
        low, high = rows.start // 2, min(height, (rows.stop + 1) // 2 + 1)
        phases = self.phases(features[:, :, low:high]).chunk(4, 1)
        for number, phase in enumerate(phases):
            row, column = divmod(number, 2)
            begin = (rows.start + row) % 2  # the first row of ``out`` that this phase makes
            target = out[:, :, begin::2, column::2]
            first = (rows.start + begin) // 2 - low
            target.copy_(phase[:, :, first : first + target.shape[2], column : column + width])
        if rows.start == 0:  # there the convolution sees its padding
            out[:, :, :1] = self.conv(enlarged_rows(features[:, :, :2]))[:, :, :1]
        if rows.stop == 2 * height - 2:
            out[:, :, -1:] = self.conv(enlarged_rows(features[:, :, -2:]))[:, :, -1:]


def convolution(weight: Tensor, bias: Tensor, *, stride: int = 1, padding: int | tuple[int, int] = 1) -> nn.Conv2d:
    """Make a convolution of a weight [O, I, rows, columns] and a bias [O], which are copied."""
    outputs, inputs, rows, columns = weight.shape
    conv = nn.Conv2d(inputs, outputs, (rows, columns), stride, padding)
    conv.weight.data, bias_of(conv).data = weight.detach().clone(), bias.detach().clone()
    return conv


def composed(first: nn.Conv2d, then: nn.Conv2d) -> nn.Conv2d:
    """Return the one convolution, without padding, that two after each other are away from edges.

    ``first`` must have stride 1; the result has the stride of ``then`` and the sum of their reaches.
    """
    weight = F.conv_transpose2d(then.weight, first.weight)  # sums over the channels in between, all shifts
    bias = bias_of(then) + then.weight.sum((2, 3)) @ bias_of(first)
    return convolution(weight, bias, stride=then.stride[0], padding=0)


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Return the bias of a convolution that has one."""
    assert conv.bias is not None
    return conv.bias


def copied(module: Module) -> Module:
    """Return a copy of a module that shares nothing with it."""
    return copy.deepcopy(module)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.detach().clone()
    if bias is not None:
        layer.bias.data = bias.detach().clone()
    return layer
