"""Codecs: pixels to latents and back.

A codec turns enlarged pixels [B, 3, T, H, W] in [-1, 1] into latents [B, C, T, h, w] with its scaling factor
applied, and back. Does not enlarge, pad or sample noise.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor


class Codec(Protocol):
    """What a pipeline needs of a codec."""

    channels: int
    factor: int
    """Pixels per latent cell along height and width."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents [B, C, T, h, w] of pixels [B, 3, T, h*factor, w*factor] in [-1, 1]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels [B, 3, T, h*factor, w*factor], nominally in [-1, 1], of latents."""


class PixelUnshuffleCodec:
    """An exact codec without weights: each latent cell holds the pixels of one factor x factor square.

    At scale 4 with factor 4 the latent grid is the grid of the low-quality input. The pixels of a square are
    written in the basis of the discrete cosine transform, means and details scaled apart. Nearly all of a picture's
    energy is in the means and all that upscaling adds is in the details: with plain pixels the first layers see
    little but brightness (docs/training.md has what was tried).
    """

    def __init__(self, factor: int = 4, *, mean_scale: float = 0.25, detail_scale: float = 8.0) -> None:
        """Build; the two factors bring means and details of natural video near unit variance."""
        self.factor = factor
        self.channels = 3 * factor**2
        basis = torch.kron(_cosine_basis(factor), _cosine_basis(factor))  # [coefficient, pixel]
        scales = torch.full((factor**2, 1), detail_scale)
        scales[0] = mean_scale
        self._forward, self._inverse = basis * scales, (basis / scales).T.contiguous()

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents [B, 3*factor^2, T, H/factor, W/factor]."""
        squares = rearrange(pixels, "b c t (h y) (w x) -> b t h w c (y x)", y=self.factor, x=self.factor)
        latents = squares @ self._forward.to(pixels).T
        return rearrange(latents, "b t h w c k -> b (c k) t h w")

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels [B, 3, T, h*factor, w*factor]: the exact inverse of :meth:`encode`."""
        squares = rearrange(latents, "b (c k) t h w -> b t h w c k", c=3) @ self._inverse.to(latents).T
        return rearrange(squares, "b t h w c (y x) -> b c t (h y) (w x)", y=self.factor, x=self.factor)


def _cosine_basis(size: int) -> Tensor:
    """Orthonormal DCT-II matrix [frequency, position]."""
    frequency, position = torch.arange(size)[:, None], torch.arange(size)[None]
    basis = torch.cos(math.pi * (2 * position + 1) * frequency / (2 * size)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
