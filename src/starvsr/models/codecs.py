"""Codecs: pixels to latents and back.

A codec turns enlarged pixels [B, 3, T, H, W] in [-1, 1] into latents [B, C, T, h, w] with its scaling factor
applied, and back. Does not enlarge, pad or sample noise.
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
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

    At scale 4 with factor 4 the latent grid is the grid of the low-quality input.
    """

    def __init__(self, factor: int = 4, scaling_factor: float = 2.0) -> None:
        """Build; ``scaling_factor`` brings pixels of natural video near unit variance."""
        self.factor = factor
        self.scaling_factor = scaling_factor
        self.channels = 3 * factor**2

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents [B, 3*factor^2, T, H/factor, W/factor]."""
        num_frames = pixels.shape[2]
        frames = rearrange(pixels, "b c t h w -> (b t) c h w")
        latents = F.pixel_unshuffle(frames, self.factor) * self.scaling_factor
        return rearrange(latents, "(b t) c h w -> b c t h w", t=num_frames)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels [B, 3, T, h*factor, w*factor]: the exact inverse of :meth:`encode`."""
        num_frames = latents.shape[2]
        frames = rearrange(latents, "b c t h w -> (b t) c h w") / self.scaling_factor
        return rearrange(F.pixel_shuffle(frames, self.factor), "(b t) c h w -> b c t h w", t=num_frames)
