"""One entry per checkpoint: what it is, how it is built, where its weights lie, what may be done with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from starvsr.errors import OptionError
from starvsr.models.causal_sr import CausalSRConfig
from starvsr.models.sources import Component, Role, get_component
from starvsr.models.star_unet import StarUNetConfig


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a checkpoint but its weights."""

    name: str
    summary: str
    unet: StarUNetConfig
    scale: int
    """Output pixels per input pixel along each side."""
    enlarge: str
    """How the input is brought to output size before encoding: "bilinear" or "bicubic"."""
    context_tokens: int
    one_step_timestep: int
    """Timestep of the one-step mode."""
    samples: bool
    """Whether it can also sample from noise in several steps; else its one step is all it does."""
    weights: str
    """File name in the package's folder of weights."""
    licence: str
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


STAR_SMALL = ModelSpec(
    name="star-small",
    summary="the STAR network at small width, trained here, in the package: works at once on a CPU",
    unet=StarUNetConfig(
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
        dropout=0.0,
    ),
    scale=4,
    enlarge="bicubic",
    context_tokens=4,
    one_step_timestep=250,
    samples=False,
    weights="star-small.safetensors",
    licence="Apache-2.0",
    segment=24,
    overlap=3,
    crossfade=2,
    tile_overlap=8,
    bytes_per_pixel=580,
    bytes_per_tile_pixel=2000,
)


@dataclass(frozen=True)
class PublishedSpec:
    """A model whose weights are fetched from the Hub: what it is and which weights make it up."""

    name: str
    summary: str
    unet: StarUNetConfig
    scale: int
    licence: str
    """Of its network; the other parts have licences of their own (models/sources.py)."""
    parts: Mapping[Role, tuple[str, ...]]
    """Names of the components that can play each role; the first is fetched, any that is there is used."""
    enlarge: str = "bilinear"
    """How the input is brought to output size before encoding."""
    one_step_timestep: int = 250
    """Timestep of a student that is trained for one step."""

    def components(self) -> list[Component]:
        """Return the components that `starvsr models fetch` gets."""
        return [get_component(names[0]) for names in self.parts.values()]


def _published(name: str, summary: str) -> PublishedSpec:
    return PublishedSpec(
        name=name,
        summary=summary,
        unet=StarUNetConfig(),
        scale=4,
        licence="MIT",
        parts={"unet": (f"{name}-unet",), "vae": ("svd-vae",), "text": ("sd2-text", "openclip-text")},
    )


PUBLISHED: dict[str, PublishedSpec] = {
    "star-light": _published("star-light", "the authors' STAR (2.04 B parameters) for lightly degraded video"),
    "star-heavy": _published("star-heavy", "the authors' STAR (2.04 B parameters) for heavily degraded video"),
}


@dataclass(frozen=True)
class CausalSpec:
    """A :class:`CausalSR`: a network that gives the result itself, without latents and timesteps."""

    name: str
    summary: str
    network: CausalSRConfig
    scale: int
    weights: str
    """File name of its weights."""
    licence: str
    enlarge: str = "bicubic"
    one_step_timestep: int = 0
    """It reads no timestep."""


CAUSAL: dict[str, CausalSpec] = {
    "causal-sr": CausalSpec(
        name="causal-sr",
        summary="plain causal convolutions at half resolution: fast, six frames of memory",
        network=CausalSRConfig(),
        scale=4,
        weights="causal-sr.safetensors",
        licence="Apache-2.0",
    )
}
"""Networks that `starvsr train` trains and `starvsr upscale --weights` runs; none has weights in the package."""

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in [STAR_SMALL]}


def get_spec(name: str) -> ModelSpec:
    """Return the entry of a model that comes with the package.

    Raises:
        OptionError: there is no model of that name, or its weights are published elsewhere (``PUBLISHED``).
    """
    if name in PUBLISHED:
        raise OptionError(f"{name} is a published model, and this works with the package's own: {', '.join(MODELS)}")
    if name in CAUSAL:
        raise OptionError(
            f"{name} has no weights in the package, and this works with those that have: {', '.join(MODELS)}"
        )
    if name not in MODELS:
        known = ", ".join([*MODELS, *CAUSAL, *PUBLISHED])
        raise OptionError(f"unknown model {name!r}: known are {known}; see `starvsr models list`")
    return MODELS[name]


def packaged_weights(spec: ModelSpec) -> Path:
    """Return the path of the weights that come with the package."""
    with as_file(files("starvsr") / "weights" / spec.weights) as path:
        return path
