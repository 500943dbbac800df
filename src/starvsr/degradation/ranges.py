"""What may happen to a clip: recipes, as ranges to draw from. `starvsr.degradation.recipe` carries them out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from starvsr.degradation.artefacts import SharpenRanges
from starvsr.degradation.compression import CodecRange
from starvsr.degradation.kernels import KernelRanges
from starvsr.degradation.noise import NoiseRanges


@dataclass(frozen=True)
class ResizeRanges:
    """Random rescaling: up, down or kept with these probabilities, by factors from these ranges.

    `modes` are names of torch's interpolations; a name ending in "_aa" filters against aliasing.
    """

    probabilities: tuple[float, float, float] = (0.2, 0.7, 0.1)
    up: tuple[float, float] = (1.0, 1.5)
    down: tuple[float, float] = (0.15, 1.0)
    modes: tuple[str, ...] = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class StageRecipe:
    """One round of blur, resize, noise, JPEG."""

    kernel: KernelRanges
    resize: ResizeRanges
    noise: NoiseRanges
    blur_probability: float = 1.0
    jpeg_probability: float = 1.0
    jpeg_quality: tuple[float, float] = (30.0, 95.0)


@dataclass(frozen=True)
class DegradationRecipe:
    """All that may happen to a clip, in order: first stage, codec, second stage, resize to LQ, sinc, codec.

    Attributes:
        name: for records.
        first: first stage, at GT size.
        second: second stage, around LQ size; None for none. Its resize factors are relative to LQ size.
        codec_between: codecs that may follow the first stage.
        codec_between_probability: how often they do.
        codec_final: codecs that may end the chain, at LQ size.
        codec_final_probability: how often they do.
        final_sinc_probability: how often a ringing filter follows the resize to LQ size.
        final_modes: interpolations of that resize.
        sharpening: unsharp masking at LQ size, before the final codec.
        interlace_probability: how often the LQ clip has traces of interlacing, half of them deinterlaced by averages.
        drift: how far the strength of blur and noise wanders from frame to frame: standard deviation of one step of
            a random walk in its logarithm, drawn back to zero. 0 keeps both as drawn.
    """

    name: str
    first: StageRecipe
    second: StageRecipe | None
    codec_final: tuple[CodecRange, ...]
    codec_final_probability: float = 1.0
    codec_between: tuple[CodecRange, ...] = ()
    codec_between_probability: float = 0.0
    final_sinc_probability: float = 0.0
    final_modes: tuple[str, ...] = ("area", "bilinear_aa", "bicubic_aa")
    drift: float = 0.0
    sharpening: SharpenRanges = field(default_factory=SharpenRanges)
    interlace_probability: float = 0.0


@dataclass(frozen=True)
class RecipeMix:
    """Recipes to choose from, one a clip, with relative frequencies."""

    name: str
    recipes: tuple[DegradationRecipe, ...]
    weights: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> DegradationRecipe:
        """Choose a recipe."""
        shares = np.array(self.weights) / sum(self.weights)
        return self.recipes[int(rng.choice(len(self.recipes), p=shares))]
