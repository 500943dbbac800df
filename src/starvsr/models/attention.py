"""Multi-head attention and the gated feed-forward of the transformers.

Holds the two layers that mix tokens and features. Does not know what a token stands for: blocks.py decides
whether tokens are the pixels of a frame or the frames of a pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


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

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """Return [N, L, D] for tokens [N, L, D].

        ``context`` [B, M, E] may have fewer batch items than ``tokens``: N must be a multiple of B, and
        each context then serves N/B consecutive items, without being repeated in memory.
        """
        source = tokens if context is None else context
        heads = {"d": self.head_dim}
        key = rearrange(self.to_k(source), "b m (h d) -> b h m d", **heads)
        value = rearrange(self.to_v(source), "b m (h d) -> b h m d", **heads)
        query = rearrange(self.to_q(tokens), "(b r) l (h d) -> b h (r l) d", b=source.shape[0], **heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = rearrange(mixed, "b h (r l) d -> (b r) l (h d)", l=tokens.shape[1])
        out: Tensor = self.to_out(mixed)
        return out


class GatedLinear(nn.Module):
    """Project to twice the width and gate one half with the GELU of the other."""

    def __init__(self, width: int, inner: int) -> None:
        """Build a projection ``width`` -> 2 x ``inner``."""
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [..., inner] for [..., width]."""
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Transform each token on its own: gated projection to four times the width and back."""

    def __init__(self, width: int) -> None:
        """Build for tokens of ``width`` features."""
        super().__init__()
        self.net = nn.Sequential(GatedLinear(width, 4 * width), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return a tensor of the shape of ``tokens`` [..., width]."""
        out: Tensor = self.net(tokens)
        return out


def sinusoidal_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Embed timesteps [B] as [B, width] float32, cosines first, periods up to 10000."""
    half = width // 2
    rates = torch.pow(10000.0, -torch.arange(half, dtype=torch.float32, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)
