"""The models of the family: STAR on I2VGen-XL as its authors published it. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starvsr.families.entry import Entry
from starvsr.families.star_i2vgen.settings import StarI2VGenSettings
from starvsr.models.star.config import StarUNetConfig

if TYPE_CHECKING:
    from starvsr.models.weights.components import PartName

LAYOUT = {
    "unet": "unet",
    "vae": "vae",
    "vae/config.json": "vae/config.json",
    "text": "text_encoder",
    "text/config.json": "text_encoder/config.json",
    "text/merges.txt": "tokenizer/merges.txt",
}
"""Where the files lie in a model folder."""


@dataclass(frozen=True, kw_only=True)
class StarI2VGenSpec(Entry):
    """Everything about a checkpoint but its weights, which are fetched from the Hub."""

    settings: type = StarI2VGenSettings
    loader: str = "starvsr.families.star_i2vgen.load:load"
    folder: str | None = "starvsr.families.star_i2vgen.model_folder:folder_parts"
    folder_class: str = "StarSmallUpscaler"
    marks: tuple[str, ...] = ("VideoControlNet.input_blocks.0.0.weight", "input_blocks.0.0.weight")
    layout: Mapping[str, str] = field(default_factory=lambda: LAYOUT)
    scale: int = 4
    licence: str = "MIT"
    unet: StarUNetConfig = field(default_factory=StarUNetConfig)
    enlarge: str = "bilinear"
    """How the input is brought to output size before encoding."""
    one_step_timestep: int = 250
    """Timestep of a student that is trained for one step."""


def _published(name: str, summary: str) -> StarI2VGenSpec:
    parts: dict[str, tuple[PartName, ...]] = {
        "unet": (f"{name}-unet",),
        "vae": ("svd-vae",),
        "text": ("sd2-text", "openclip-text"),
    }
    return StarI2VGenSpec(name=name, summary=summary, parts=parts)


STAR_LIGHT = _published("star-light", "the authors' STAR (2.04 B parameters) for lightly degraded video")
STAR_HEAVY = _published("star-heavy", "the authors' STAR (2.04 B parameters) for heavily degraded video")
