"""Bicubic enlargement behind the face of a model: no network, for comparison and for trying settings."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from starvsr.engine.upscaler import ModelTraits, StepCallback


class BicubicUpscaler:
    """Enlarge each frame by itself with bicubic interpolation."""

    name = "bicubic"
    traits = ModelTraits(
        accepts=frozenset(), overlap=0, tile_overlap=8, fixed_bytes=0, bytes_per_pixel=500, num_steps=1
    )

    def __init__(self, scale: int = 4) -> None:
        self.scale = scale

    def upscale_clip(
        self,
        lq: Tensor,
        *,
        seed: int = 0,
        first_frame: int = 0,
        num_steps: int = 1,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Enlarge [1, 3, T, H, W] to [1, 3, T, scale * H, scale * W]; nothing else changes the result."""
        frames = rearrange(lq, "b c t h w -> (b t) c h w")
        frames = F.interpolate(frames, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=lq.shape[0]).clamp_(-1, 1)
