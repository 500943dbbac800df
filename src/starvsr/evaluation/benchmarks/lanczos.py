"""Lanczos enlargement behind the contract of a model: the filter that players and editors use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from starvsr.engine.clip_upscaler import ClipArguments, ClipUpscaler
from starvsr.engine.traits import Traits

if TYPE_CHECKING:
    from typing_extensions import Unpack


class LanczosUpscaler(ClipUpscaler):
    """Enlarge each frame with Pillow's Lanczos filter (three lobes), in floating point.

    Args:
        scale: how many times.
    """

    name = "lanczos"
    traits = Traits(accepts=frozenset(), overlap=0, tile_overlap=8, fixed_bytes=0, bytes_per_pixel=500)

    def __init__(self, scale: int = 4) -> None:
        self.scale = scale

    def upscale_clip(self, lq: Tensor, **_: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] to [1, 3, T, scale * H, scale * W]; nothing else changes the result."""
        channels, num_frames, height, width = lq.shape[1:]
        size = (width * self.scale, height * self.scale)
        planes = lq[0].reshape(-1, height, width).cpu().numpy()
        made = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in planes]
        return torch.from_numpy(np.stack(made)).reshape(1, channels, num_frames, size[1], size[0]).clamp_(-1, 1)
