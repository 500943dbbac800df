"""Multi-head attention and the gated feed-forward of the transformers.

Holds the two layers that mix tokens and features. Does not know what a token stands for: blocks.py decides
whether tokens are the pixels of a frame or the frames of a pixel.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from starvsr.models.inference import Budget, multiply, over_tokens

LARGEST_BATCH = 65_535
"""Kernels on CUDA number the batch along an axis of their grid that ends here (torch's issues 142228 and 146704)."""


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the attention [B, heads, L, d] of any batch; a very large one is done in parts.

    Where tokens are the frames of a pixel, the pixels are the batch: 270x480 cells of latents are too many.
    """
    if len(query) <= LARGEST_BATCH:
        return F.scaled_dot_product_attention(query, key, value)
    parts = zip(*(tensor.split(LARGEST_BATCH) for tensor in (query, key, value)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in parts])


class Attention(nn.Module):
    """Attend from tokens to a context, or to themselves.

    Source: STAR (arXiv 2501.02976) on I2VGen-XL: no bias in q, k, v; a bias in the output projection.
    """

    def __init__(self, width: int, head_dim: int, context_dim: int | None = None) -> None:
        """Build for tokens of ``width`` features; ``context_dim`` None means self attention."""
        super().__init__()
        self.head_dim = head_dim
        source = width if context_dim is None else context_dim
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(source, width, bias=False)
        self.to_v = nn.Linear(source, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, tokens: Tensor, context: Context | None = None) -> Tensor:
        """Return [N, L, D] for tokens [N, L, D].

        ``context`` [B, M, E] may have fewer batch items than ``tokens``: N must be a multiple of B, and
        each context then serves N/B consecutive items, without being repeated in memory.
        """
        if isinstance(context, TextContext):
            key, value = context.keys_and_values(self)
        else:
            key, value = self.keys_and_values(tokens if context is None else context)
        query = rearrange(self.to_q(tokens), "(b r) l (h d) -> b h (r l) d", b=key.shape[0], d=self.head_dim)
        mixed = attend(query, key, value)
        del query, key, value
        mixed = rearrange(mixed, "b h (r l) d -> (b r) l (h d)", l=tokens.shape[1])
        out: Tensor = self.to_out(mixed)
        return out

    def keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, each [B, heads, M, head_dim], of a source [B, M, E]."""
        parts = (self.to_k(source), self.to_v(source))
        key, value = (rearrange(part, "b m (h d) -> b h m d", d=self.head_dim) for part in parts)
        return key, value


class TextContext:
    """Encoded texts [B, M, E] with the keys and values of each attention that reads them, computed once.

    Stands in for the plain tensor where the same texts are read in many steps. The weights must not change meanwhile.
    """

    def __init__(self, tokens: Tensor) -> None:
        """Begin with nothing remembered."""
        self.tokens = tokens
        self._known: dict[Attention, tuple[Tensor, Tensor]] = {}

    @property
    def shape(self) -> torch.Size:
        """Shape of the encoded texts."""
        return self.tokens.shape

    def keys_and_values(self, attention: Attention) -> tuple[Tensor, Tensor]:
        """Return what ``attention.keys_and_values`` gives for the texts."""
        if attention not in self._known:
            self._known[attention] = attention.keys_and_values(self.tokens)
        return self._known[attention]

    def __getitem__(self, texts: slice) -> TextContext:
        if len(range(*texts.indices(len(self.tokens)))) == len(self.tokens):
            return self
        return _SomeTexts(self, texts)


class _SomeTexts(TextContext):
    """Some of the texts of another context, which keeps their keys and values."""

    def __init__(self, whole: TextContext, texts: slice) -> None:
        super().__init__(whole.tokens[texts])
        self._whole, self._texts = whole, texts

    def keys_and_values(self, attention: Attention) -> tuple[Tensor, Tensor]:
        key, value = self._whole.keys_and_values(attention)
        return key[self._texts], value[self._texts]


Context = Tensor | TextContext
"""What cross attentions read."""


def attend_in_windows(attention: Attention, grid: Tensor, window: int) -> Tensor:
    """Let the tokens of a grid [N, h, w, D] attend within windows of about ``window`` x ``window``; same shape.

    Each axis is cut evenly into the number of windows that brings their length nearest to ``window``. 0, or a
    grid that is no longer than about one and a half windows, means one window.
    """
    rows, columns = _even_cuts(grid.shape[1], window), _even_cuts(grid.shape[2], window)
    if len(rows) == len(columns) == 1:
        return attention(grid.flatten(1, 2)).view_as(grid)
    out = torch.empty_like(grid)
    for top, bottom in rows:
        for left, right in columns:
            part = grid[:, top:bottom, left:right]
            out[:, top:bottom, left:right] = attention(part.flatten(1, 2)).view_as(part)
    return out


def _even_cuts(length: int, window: int) -> list[tuple[int, int]]:
    count = max(1, round(length / window)) if window else 1
    bounds = [number * length // count for number in range(count + 1)]
    return list(pairwise(bounds))


class GatedLinear(nn.Module):
    """Project to twice the width and gate one half with the GELU of the other."""

    def __init__(self, width: int, inner: int) -> None:
        """Build a projection ``width`` -> 2 x ``inner``."""
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [..., inner] for [..., width]."""
        (value_weight, gate_weight), (value_bias, gate_bias) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
        gate = F.gelu(F.linear(tokens, gate_weight, gate_bias))
        value = F.linear(tokens, value_weight, value_bias)
        return multiply(value, gate)


class FeedForward(nn.Module):
    """Transform each token on its own: gated projection to four times the width and back."""

    def __init__(self, width: int, budget: Budget | None = None) -> None:
        """Build for tokens of ``width`` features."""
        super().__init__()
        self.budget = budget or Budget()
        self.net = nn.Sequential(GatedLinear(width, 4 * width), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return a tensor of the shape of ``tokens`` [..., width]."""
        return over_tokens(self.net, tokens, self.budget)


def sinusoidal_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Embed timesteps [B] as [B, width] float32, cosines first, periods up to 10000."""
    half = width // 2
    rates = torch.pow(10000.0, -torch.arange(half, dtype=torch.float32, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)
