"""Options of STAR on CogVideoX. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import (
    ExactSettings,
    PrecisionSettings,
    PromptGuidanceSettings,
    SamplingSettings,
    WindowSettings,
)
from starvsr.options.info import MODEL, option


@dataclass(frozen=True)
class GuidanceCurveSettings:
    """How the weight of the prompt changes over the steps."""

    guidance_curve: str | None = option(
        None,
        "Weight of the prompt over the steps: released (default, as published: jumps between 1 and --guidance), smooth "
        "(rises from 1 to --guidance) or constant.",
        MODEL,
        "text",
        choices=("released", "smooth", "constant"),
    )


@dataclass(frozen=True)
class StarCogVideoXSettings(  # the fields of the last one come first
    ExactSettings,
    GuidanceCurveSettings,
    PromptGuidanceSettings,
    PrecisionSettings,
    WindowSettings,
    SamplingSettings,
):
    """All options of the family."""
