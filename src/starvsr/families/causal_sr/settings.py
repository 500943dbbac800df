"""Options of causal-sr. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import PrecisionSettings, WeightsSettings
from starvsr.options.info import MODEL, option


@dataclass(frozen=True)
class DetailSettings:
    """The place between the two ends of a training."""

    detail: float | None = option(
        None,
        "From faithful (0) to vivid (1), for weights that hold both ends (default: halfway). Costs no time.",
        MODEL,
        "float",
        minimum=0,
        maximum=1,
        loads=True,
    )


@dataclass(frozen=True)
class CausalSRSettings(PrecisionSettings, DetailSettings, WeightsSettings):  # the fields of the last one come first
    """All options of the family."""
