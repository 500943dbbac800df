"""Options of StableVSR. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.families.settings import (
    ExactSettings,
    PrecisionSettings,
    PromptGuidanceSettings,
    PromptSettings,
    SamplingSettings,
)
from starvsr.options.info import MODEL, option


@dataclass(frozen=True)
class NeighbourSettings:
    """How a frame is conditioned on its neighbour: optical flow, and when and how strongly the TCM works."""

    flow: str | None = option(
        None,
        "Optical flow between frames: raft (default, as published; needs torchvision) or dis (OpenCV, no weights).",
        MODEL,
        "text",
        loads=True,
        choices=("raft", "dis"),
    )
    tcm: str | None = option(
        None,
        "Folder of a trained Temporal Conditioning Module to use in place of the model's own.",
        MODEL,
        "text",
        loads=True,
        names_weights=True,
    )
    guidance_decoder: str | None = option(
        None,
        "Folder of a trained small decoder that shows frames what their neighbours will look like, in place of the "
        "model's own decoder (final frames keep that): nearly three quarters less work, other results.",
        MODEL,
        "text",
        loads=True,
        names_weights=True,
    )
    texture_scale: float | None = option(
        None,
        "Factor on what the Temporal Conditioning Module adds (default: 1); 0 enlarges each frame independently.",
        MODEL,
        "float",
        minimum=0,
        maximum=10,
    )
    texture_start: float | None = option(
        None,
        "Share of the steps before which frames are not conditioned (default: 0).",
        MODEL,
        "float",
        minimum=0,
        maximum=1,
    )
    texture_end: float | None = option(
        None,
        "Share of the steps after which frames are not conditioned (default: 1).",
        MODEL,
        "float",
        minimum=0,
        maximum=1,
    )
    texture_every: int | None = option(
        None,
        "Condition frames only in one step of so many (default: 1, every step): saves up to 4/5 of the others. Costs "
        "temporal consistency.",
        MODEL,
        "int",
        unit="steps",
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True)
class StableVSRSettings(  # the fields of the last one come first
    ExactSettings,
    PromptGuidanceSettings,
    NeighbourSettings,
    PrecisionSettings,
    PromptSettings,
    SamplingSettings,
):
    """All options of the family."""
