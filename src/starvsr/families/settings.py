"""Options that several model families share, each declared once. A family's own are in its folder. Loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from starvsr.options.info import MODEL, option

RELEASED = "As the released code does it"


@dataclass(frozen=True)
class WeightsSettings:
    """Weights in place of the model's own."""

    weights: str | None = option(
        None, "File of weights to use in place of the model's own.", MODEL, "text", loads=True, names_weights=True
    )


@dataclass(frozen=True)
class SamplingSettings(WeightsSettings):
    """Settings of models that sample; every model accepts a seed."""

    steps: int | None = option(
        None, "Sampling steps (default: the model's own).", MODEL, "int", minimum=1, maximum=1000
    )
    seed: int | None = option(
        None,
        "Seed of the noise (default: 0). Same seed, same bytes.",
        MODEL,
        "int",
        minimum=0,
        maximum=2**63 - 1,
    )


@dataclass(frozen=True)
class PrecisionSettings:
    """The number type of the network."""

    precision: str | None = option(
        None,
        "Number type of the network (default: the model's own); int8 keeps its weights in 8 bits.",
        MODEL,
        "text",
        loads=True,
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    )


@dataclass(frozen=True)
class PromptSettings:
    """What the video shows."""

    prompt: str | None = option(None, "What the video shows, for models that read text.", MODEL, "text")


@dataclass(frozen=True)
class WindowSettings(PromptSettings):
    """What the video shows, and how much of it is seen at once."""

    window: int | None = option(None, "Frames that the network sees at once.", MODEL, "int", unit="frames", minimum=1)


@dataclass(frozen=True)
class PromptGuidanceSettings:
    """How strongly the prompt is followed."""

    negative_prompt: str | None = option(
        None, "What the result must not look like, for models that read text.", MODEL, "text"
    )
    guidance: float | None = option(
        None,
        "Weight of the prompt against the negative prompt (default: the model's own); 1 saves half the work.",
        MODEL,
        "float",
        minimum=1,
        maximum=50,
    )


@dataclass(frozen=True)
class ExactSettings:
    """The released code's choices."""

    exact: bool = option(
        False,
        "Make the released code's choices: the whole clip in one piece, and for STAR all of the following.",
        RELEASED,
        "flag",
    )


@dataclass(frozen=True)
class NoSettings:
    """The options of a model that has none."""


def job_names(settings: type) -> frozenset[str]:
    """Return the options of a family that a job may give; the seed is every model's."""
    return frozenset(f.name for f in dataclasses.fields(settings) if not f.metadata["option"].loads) - {"seed"}


def load_names(settings: type) -> frozenset[str]:
    """Return the options of a family that hold from loading on."""
    return frozenset(f.name for f in dataclasses.fields(settings) if f.metadata["option"].loads)
