"""The models of the family: the STAR network at small width. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.entry import Entry
from starvsr.families.star_small.settings import StarSmallSettings
from starvsr.models.star.small.config import StarSmallConfig


@dataclass(frozen=True, kw_only=True)
class StarSmallSpec(Entry):
    """Everything about a checkpoint but its weights."""

    settings: type = StarSmallSettings
    loader: str = "starvsr.families.star_small.pipeline:load"
    marks: tuple[str, ...] = ("context.tokens", "unet.VideoControlNet.input_blocks.0.0.weight")
    network: StarSmallConfig
    enlarge: str
    """How the input is brought to output size before encoding: "bilinear" or "bicubic"."""
    context_tokens: int
    one_step_timestep: int
    """Timestep of the one-step mode."""
    samples: bool
    """Whether it can also sample from noise in several steps; else its one step is all it does."""
    detail: float = 1.0
    """Place between the two ends that weights hold, where a job names none."""
    weights: str
    """File name of its weights, also in the package's folder of weights."""
    segment: int
    """Frames a segment has by default."""
    overlap: int
    """Frames of context on each side of a segment."""
    crossfade: int
    """Frames over which neighbouring segments are blended."""
    tile_overlap: int
    """Input pixels that neighbouring tiles share."""
    bytes_per_pixel: int
    """Peak memory of a one-step call per input pixel and frame, in float32."""
    bytes_per_tile_pixel: int
    """What comes on top of it per input pixel, however many frames, in float32."""


STAR_SMALL = StarSmallSpec(
    name="star-small",
    summary="the STAR network at small width, trained here, in the package: works at once on a CPU",
    network=StarSmallConfig(
        in_channels=48,
        out_channels=48,
        width=48,
        multipliers=(1, 4 / 3, 2),
        num_res_blocks=(0, 1, 1),
        head_dim=32,
        first_heads=0,
        attn_scales=(),
        attn_window=16,
        context_dim=64,
        norm="channel",
        temporal_stages=(1, 1, 2),
        temporal_padding="repeat",
        dropout=0.0,
        refinement_width=24,
    ),
    scale=4,
    enlarge="bicubic",
    context_tokens=4,
    one_step_timestep=250,
    samples=False,
    weights="star-small.safetensors",
    packaged="star-small.safetensors",
    licence="Apache-2.0",
    segment=24,
    overlap=3,
    crossfade=2,
    tile_overlap=8,
    bytes_per_pixel=580,
    bytes_per_tile_pixel=2000,
)
