"""A family of one small network, with a footprint that is made up: the offload core must do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starvsr.offload.footprint import ClipSize, Device, Phase, PhasePeak, PlanLimits
from starvsr.offload.memory_plan import MemoryPlan, Place

MB = 2**20


@dataclass(frozen=True)
class StripedPlan(MemoryPlan):
    """A plan with a setting that no other family has."""

    stripes: int = 1


@dataclass(frozen=True)
class StripedFootprint:
    """Two phases: "look" uses the small network, "draw" the large one, in stripes."""

    device: Device = "cuda"
    phases: tuple[Phase, ...] = (Phase("look", "looking", ("eye",)), Phase("draw", "drawing", ("hand", "eye")))

    def weights(self, place: Place, phase: str) -> int:
        """The eye has 10 MB; the hand 100, of which 20 are needed at once."""
        if place == "resident":
            return 110 * MB
        return 10 * MB if phase == "look" else 10 * MB + (20 if place == "stream" else 100) * MB

    def peak(self, phase: str, clip: ClipSize, plan: StripedPlan) -> PhasePeak:
        """A kilobyte for each cell and frame; drawing is divided by tiles and stripes."""
        clip_bytes = 1024 * clip.num_frames * clip.height * clip.width
        pieces = 1 if phase == "look" else plan.stripes * plan.tiles[0] * plan.tiles[1]
        return PhasePeak(clip_bytes, 8 * clip_bytes // pieces)

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> tuple[StripedPlan, ...]:
        """Up to 4 stripes, whole frames or quarters."""
        places: tuple[Place, ...] = limits.places if self.device != "cpu" else ("resident",)
        tilings = [limits.tiles] if limits.tiles else [(1, 1), (2, 2)]
        return tuple(
            StripedPlan(place, tiles, limits.tile_overlap, stripes)
            for place in places
            for tiles in tilings
            for stripes in (1, 2, 4)
        )

    def tile_work(self, clip: ClipSize, plan: StripedPlan) -> float:
        """A fifth more in tiles."""
        return 1.0 if plan.tiles == (1, 1) else 1.2

    def extra_work(self, plan: StripedPlan) -> float:
        """A hundredth for each further stripe."""
        return 0.01 * (plan.stripes - 1)

    def plan_from(self, values: Mapping[str, Any]) -> StripedPlan:
        """Read a plan from a job's manifest."""
        return StripedPlan.from_dict(values)
