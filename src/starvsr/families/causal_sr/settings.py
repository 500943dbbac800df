"""Options of causal-sr. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import PrecisionSettings, WeightsSettings


@dataclass(frozen=True)
class CausalSRSettings(PrecisionSettings, WeightsSettings):  # the fields of the last one come first
    """All options of the family."""
