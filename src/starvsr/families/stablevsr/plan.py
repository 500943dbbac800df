"""The memory plan of StableVSR: where weights live, and how many frames the UNet's first half takes at once."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.offload.memory_plan import MemoryPlan

AT_ONCE = (1, 2, 4)


@dataclass(frozen=True)
class StableVSRPlan(MemoryPlan):
    """See `MemoryPlan`; frames are never cut into tiles.

    Args:
        frames_at_once: Frames whose first half of the UNet runs in one call.
    """

    frames_at_once: int = 1

    def describe(self) -> str:
        """Describe the plan in words."""
        frames = "1 frame" if self.frames_at_once == 1 else f"{self.frames_at_once} frames"
        return f"{super().describe()}; {frames} at once in the first half of the UNet"
