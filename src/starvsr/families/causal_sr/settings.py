"""Options of causal-sr. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import DetailSettings, PrecisionSettings, WeightsSettings


@dataclass(frozen=True)
class CausalSRSettings(PrecisionSettings, DetailSettings, WeightsSettings):  # the fields of the last one come first
    """All options of the family."""
