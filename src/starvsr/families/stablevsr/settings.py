"""Options of StableVSR. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import PrecisionSettings, SamplingSettings
from starvsr.options.info import MODEL, option


@dataclass(frozen=True)
class FlowSettings:
    """How neighbouring frames are brought onto each other."""

    flow: str | None = option(
        None,
        "Optical flow between frames: raft (default, as published; needs torchvision) or dis (OpenCV, no weights).",
        MODEL,
        "text",
        loads=True,
        choices=("raft", "dis"),
    )


@dataclass(frozen=True)
class StableVSRSettings(PrecisionSettings, FlowSettings, SamplingSettings):  # the fields of the last one come first
    """All options of the family."""
