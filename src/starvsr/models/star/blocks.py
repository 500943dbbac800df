"""The building blocks of the STAR UNet: residual, temporal, transformer, down and up.

Inside the network a clip [B, C, T, h, w] is kept with batch and frames merged, [B*T, C, h, w] in channels-last
memory, so that going between the spatial and the temporal view costs nothing. Attribute names follow the
published checkpoints (``temopral_conv`` included), which is what lets those load strictly. How inference saves memory
is in models/inference.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from starvsr.models.inference import (
    Budget,
    InPlaceSiLU,
    Maps,
    add,
    add_over_frames,
    add_over_rows,
    clip_view,
    frame_view,
    in_turn,
    keeps_gradients,
    over_frames,
    over_pieces,
    over_texts,
    owned,
    part_of,
    writable,
)
from starvsr.models.star.attention import Attention, Context, FeedForward, attend_in_windows
from starvsr.models.star.config import Position
from starvsr.models.star.liem import SpaceGate, TimeGate, gated_residual

NormMaker = Callable[[int, float], nn.Module]
"""Makes the norm of a feature map from its channels and eps."""

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class ChannelNorm(nn.Module):
    """Normalise each position over its channels only.

    Unlike GroupNorm it does not look at the rest of the frame or clip, so a result does not depend on how a
    video is cut into tiles and windows. star-small uses it; the published STAR uses GroupNorm.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        """Build for maps of ``channels`` channels."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return normalised features [N, C, ...]."""
        last = features.movedim(1, -1)
        return F.layer_norm(last, last.shape[-1:], self.weight, self.bias, self.eps).movedim(-1, 1)


class TemporalConv(nn.Conv3d):
    """A (3,1,1) convolution, run as a 2-D one over time and merged pixels: same sums, fast kernels.

    Attributes:
        repeats: Whether the first and the last frame are repeated beyond the ends, where there is nothing otherwise.
    """

    repeats: bool = False

    def forward(self, clip: Tensor) -> Tensor:
        """Return [B, Cout, T, h, w] for a clip [B, Cin, T, h, w]."""
        flat, padding = clip.flatten(3), 1
        if self.repeats:
            flat, padding = torch.cat([flat[:, :, :1], flat, flat[:, :, -1:]], dim=2), 0
        made = F.conv2d(flat, self.weight[..., 0], self.bias, padding=(padding, 0))
        return made.unflatten(3, clip.shape[3:])


class TemporalConvBlock(nn.Module):
    """Mix neighbouring frames: norm, SiLU, (3,1,1) convolution, several times, with a residual."""

    def __init__(
        self, channels: int, stages: int, norm: NormMaker, dropout: float, budget: Budget | None = None
    ) -> None:
        """Build ``stages`` convolutions ``conv1`` .. ``conv<stages>``; the last one starts at zero."""
        super().__init__()
        self.stages, self.budget = stages, budget or Budget()
        for stage in range(1, stages + 1):
            conv = TemporalConv(channels, channels, (3, 1, 1), padding=(1, 0, 0))
            if stage == stages:
                _zeroed(conv)
            drop = [nn.Dropout(dropout)] if stage > 1 else []
            self.add_module(f"conv{stage}", nn.Sequential(norm(channels, 1e-5), InPlaceSiLU(), *drop, conv))

    def forward(self, clip: Maps) -> Tensor:
        """Return a clip of the shape [B, C, T, h, w] given."""
        stages = []
        for number in range(1, self.stages + 1):
            norm, *layers = self.get_submodule(f"conv{number}").children()
            stages.append((norm, in_turn(layers)))
        return add_over_rows(writable(clip), stages, self.budget)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the time embedding added between them, then a temporal block."""

    def __init__(
        self,
        cin: int,
        cout: int,
        emb_dim: int,
        norm: NormMaker,
        temporal_stages: int = 4,
        dropout: float = 0.1,
        budget: Budget | None = None,
    ) -> None:
        """Build for ``cin`` -> ``cout`` channels; ``temporal_stages`` 0 leaves the frames apart."""
        super().__init__()
        self.in_layers = nn.Sequential(norm(cin, 1e-5), InPlaceSiLU(), nn.Conv2d(cin, cout, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_dim, cout))
        self.out_layers = nn.Sequential(
            norm(cout, 1e-5), InPlaceSiLU(), nn.Dropout(dropout), _zeroed(nn.Conv2d(cout, cout, 3, padding=1))
        )
        self.skip_connection = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)
        self.budget = budget or Budget()
        if temporal_stages:
            self.temopral_conv = TemporalConvBlock(cout, temporal_stages, norm, dropout, self.budget)
        self.has_temporal = temporal_stages > 0

    def forward(self, features: Maps, embedding: Tensor, num_frames: int) -> Tensor:
        """Return [B*T, cout, h, w] for features [B*T, cin, h, w] and embedding [B, D], or [1, D] for all."""
        maps = owned(features)
        del features
        shift = self.emb_layers(embedding)
        shift = shift.repeat(maps.num_frames // (num_frames * len(shift)), 1)  # an embedding may serve several clips
        shift = shift.repeat_interleave(num_frames, 0)[:, :, None, None]
        hidden = over_frames(
            maps, num_frames, self.budget, lambda part, frames: self._each_frame(part, part_of(shift, frames))
        )
        if not self.has_temporal:
            return hidden
        return frame_view(self.temopral_conv(owned(clip_view(hidden, num_frames))))

    def _each_frame(self, features: Tensor, shift: Tensor) -> Tensor:
        """Run the layers that look at single frames, on [N, cin, h, w] with ``shift`` [N, cout, 1, 1]."""
        hidden = add(self.in_layers(features), shift)
        return add(self.out_layers(hidden), self.skip_connection(features))


class SpatialBlock(nn.Module):
    """Gate and self-attend within a frame, attend to the text, feed forward."""

    def __init__(
        self, width: int, head_dim: int, context_dim: int, window: int = 0, budget: Budget | None = None
    ) -> None:
        """Build for ``width`` features and a context of ``context_dim``; ``window`` 0 attends to the whole frame."""
        super().__init__()
        self.window = window
        self.attn1 = Attention(width, head_dim)
        self.ff = FeedForward(width, budget)
        self.attn2 = Attention(width, head_dim, context_dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.local1 = SpaceGate()
        self.gate_position: Position = "before"

    def forward(self, tokens: Tensor, context: Context, height: int) -> Tensor:
        """Return tokens [B*T, h*w, D] mixed with themselves and with context [B, L, E]."""
        return self.read(self.look(tokens, height), context)

    def look(self, tokens: Tensor, height: int) -> Tensor:
        """Mix the tokens of each frame [N, h*w, D]."""
        grid = rearrange(tokens, "n (h w) d -> n h w d", h=height)
        attend = partial(attend_in_windows, self.attn1, window=self.window)
        return gated_residual(grid, self.local1, self.norm1, attend, self.gate_position).flatten(1, 2)

    def read(self, tokens: Tensor, context: Context) -> Tensor:
        """Mix what :meth:`look` made, which nobody else reads, with context [B, L, E]."""
        tokens = add(tokens, self.attn2(self.norm2(tokens), context))
        return add(tokens, self.ff(self.norm3(tokens)))


class TemporalBlock(nn.Module):
    """Gate and self-attend over the frames of a pixel, twice, then feed forward."""

    def __init__(self, width: int, head_dim: int, budget: Budget | None = None) -> None:
        """Build for ``width`` features."""
        super().__init__()
        self.attn1 = Attention(width, head_dim)
        self.ff = FeedForward(width, budget)
        self.attn2 = Attention(width, head_dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.local1, self.local2 = TimeGate(), TimeGate()
        self.gate_position: Position = "before"

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [B*h*w, T, D] mixed along T."""
        tokens = gated_residual(tokens, self.local1, self.norm1, self.attn1, self.gate_position)
        tokens = gated_residual(tokens, self.local2, self.norm2, self.attn2, self.gate_position)
        return add(tokens, self.ff(self.norm3(tokens)))


class SpatialTransformer(nn.Module):
    """Attention within each frame and to the text, as a residual on the feature map."""

    def __init__(
        self,
        channels: int,
        head_dim: int,
        context_dim: int,
        norm: NormMaker,
        window: int = 0,
        budget: Budget | None = None,
    ) -> None:
        """Build for ``channels`` channels, which is also the inner width, and windows of ``window`` (0: none)."""
        super().__init__()
        self.budget = budget or Budget()
        self.norm = norm(channels, 1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(channels, head_dim, context_dim, window, self.budget)])
        self.proj_out = _zeroed(nn.Linear(channels, channels))

    def forward(self, features: Maps, context: Context, *, each_text: bool = False) -> Tensor:
        """Return [B*T, C, h, w] for features of that shape and context [B, L, E].

        With ``each_text`` the features are of one clip, [T, C, h, w], and read with each of the B texts.
        """
        if each_text:
            return self._for_each_text(owned(features).take(), context)
        frames = writable(features)
        num_frames = len(frames) // context.shape[0]
        return add_over_frames(
            frames, num_frames, self.budget, lambda part, clips: self._change(part, part_of(context, clips))
        )

    def _for_each_text(self, clip: Tensor, context: Context) -> Tensor:
        """Return [K*T, C, h, w] for one clip [T, C, h, w] read with K texts [K, L, E]; looks at the frames once."""
        num_texts, height = context.shape[0], clip.shape[-2]
        if keeps_gradients():
            return self(torch.cat([clip] * num_texts), context)
        return over_texts(
            clip, num_texts, self.budget, self._enter, lambda seen, text: self._leave(seen, context[text], height)
        )

    def _change(self, features: Tensor, context: Context) -> Tensor:
        return self._leave(self._enter(features), context, features.shape[-2])

    def _enter(self, features: Tensor) -> Tensor:
        """Return tokens [N, h*w, D] as they are before the first text is read."""
        tokens = self.proj_in(rearrange(self.norm(features), "n c h w -> n (h w) c"))
        return self._first.look(tokens, features.shape[-2])

    def _leave(self, tokens: Tensor, context: Context, height: int) -> Tensor:
        tokens = self._first.read(tokens, context)
        for block in self.transformer_blocks[1:]:
            tokens = block(tokens, context, height)
        return rearrange(self.proj_out(tokens), "n (h w) c -> n c h w", h=height)

    @property
    def _first(self) -> SpatialBlock:
        return cast(SpatialBlock, self.transformer_blocks[0])


class TemporalTransformer(nn.Module):
    """Attention along time for each pixel, as a residual on the feature map; no positions, no mask."""

    def __init__(self, channels: int, inner: int, head_dim: int, norm: NormMaker, budget: Budget | None = None) -> None:
        """Build for ``channels`` channels with ``inner`` features inside."""
        super().__init__()
        self.budget = budget or Budget()
        self.norm = norm(channels, 1e-6)
        self.proj_in = nn.Conv1d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(inner, head_dim, self.budget)])
        self.proj_out = _zeroed(nn.Conv1d(inner, channels, 1))

    def forward(self, features: Maps, num_frames: int) -> Tensor:
        """Return [B*T, C, h, w] for features of that shape."""
        return add_over_rows(writable(features), [(self.norm, self._change)], self.budget, num_frames)

    def _change(self, clip: Tensor) -> Tensor:
        """Return what is added to rows [B, C, T, r, w], given their normed form."""
        tokens = rearrange(clip, "b c t h w -> (b h w) t c")
        tokens = F.linear(tokens, self.proj_in.weight[..., 0], self.proj_in.bias)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = F.linear(tokens, self.proj_out.weight[..., 0], self.proj_out.bias)
        return rearrange(tokens, "(b h w) t c -> b c t h w", b=clip.shape[0], h=clip.shape[3])


class Downsample(nn.Module):
    """Halve height and width with a strided convolution (two rows and one column of padding)."""

    def __init__(self, channels: int) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=(2, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, (h+1)//2 + 1, (w+1)//2]."""
        out: Tensor = self.op(features)
        return out


class Upsample(nn.Module):
    """Double height and width by repetition, drop the first and last row, convolve."""

    def __init__(self, channels: int, budget: Budget | None = None) -> None:
        """Build for ``channels`` channels."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.budget = budget or Budget()

    def forward(self, features: Tensor) -> Tensor:
        """Return [N, C, 2h - 2, 2w]."""
        return over_pieces(self._enlarged, features, self.budget, growth=4)

    def _enlarged(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv(enlarged_rows(features))
        return out


def enlarged_rows(features: Tensor) -> Tensor:
    """Repeat each pixel of [N, C, h, w] twice along both axes and drop the first and last row: [N, C, 2h - 2, 2w]."""
    return F.interpolate(features, scale_factor=2, mode="nearest")[..., 1:-1, :]


def _zeroed(layer: Layer) -> Layer:
    """Start a layer at zero, so that a fresh network is the identity around it."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
