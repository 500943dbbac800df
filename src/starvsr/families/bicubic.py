"""Bicubic enlargement behind the contract of a model: no network, for comparison and for trying settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from starvsr.engine.clip_upscaler import ClipArguments, ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.families.entry import Entry

if TYPE_CHECKING:
    from typing_extensions import Unpack


class BicubicUpscaler(ClipUpscaler):
    """Enlarge each frame independently with bicubic interpolation."""

    name = "bicubic"
    traits = Traits(accepts=frozenset(), overlap=0, tile_overlap=8, fixed_bytes=0, bytes_per_pixel=500)

    def __init__(self, scale: int = 4, device: str = "cpu") -> None:
        self.scale, self.device = scale, device

    def upscale_clip(self, lq: Tensor, **_: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] to [1, 3, T, scale * H, scale * W]; nothing else changes the result."""
        frames = rearrange(lq, "b c t h w -> (b t) c h w")
        frames = F.interpolate(frames, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=lq.shape[0]).clamp_(-1, 1)


def load(entry: Entry, *, device: str = "cpu") -> BicubicUpscaler:
    """Make the model for the registry."""
    return BicubicUpscaler(entry.scale, device)
