"""Options of star-small. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import PrecisionSettings, SamplingSettings


@dataclass(frozen=True)
class StarSmallSettings(PrecisionSettings, SamplingSettings):  # the fields of the last one come first
    """All options of the family; ``steps`` only for weights that were trained for several."""
