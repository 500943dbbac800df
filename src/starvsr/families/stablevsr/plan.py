"""The memory plan of StableVSR: where weights live, how many frames are encoded at once, what is cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from starvsr.offload.footprint import PlanLimits
from starvsr.offload.memory_plan import MemoryPlan, Place
from starvsr.offload.tile_grids import grids

AT_ONCE = (1, 2, 4)
SHORTEST_TILE = 64
"""Latent cells of a tile's side, at least: the size that the TCM was trained with."""
Grid = tuple[int, int]
WHOLE: Grid = (1, 1)


@dataclass(frozen=True)
class StableVSRPlan(MemoryPlan):
    """See `MemoryPlan`.

    Args:
        frames_at_once: Frames whose first half of the UNet runs in one call.
        decoding_strips: The autoencoder's decoder computes its layers in strips of rows.
        chunked_flow: RAFT computes its table of every pixel against every other in chunks, anew in each update.
    """

    frames_at_once: int = 1
    decoding_strips: bool = False
    chunked_flow: bool = False

    @property
    def whole_frames(self) -> bool:
        """Whether all networks work on whole frames at once."""
        return super().whole_frames and not self.decoding_strips

    def describe(self) -> str:
        """Describe the plan in words."""
        frames = "1 frame" if self.frames_at_once == 1 else f"{self.frames_at_once} frames"
        words = f"{super().describe()}; {frames} at once in the first half of the UNet"
        words += "; decoder in strips of rows" * self.decoding_strips
        return words + "; RAFT's table in chunks" * self.chunked_flow


@lru_cache(maxsize=64)
def list_plans(
    height: int, width: int, limits: PlanLimits, places: tuple[Place, ...], *, strips: bool, chunks: bool
) -> tuple[StableVSRPlan, ...]:
    """List the plans for frames of ``height`` x ``width`` latent cells, those with whole frames first.

    Args:
        height: Latent rows.
        width: Latent columns.
        limits: Which plans are allowed.
        places: Where weights may live.
        strips: Whether the decoder can be computed in strips.
        chunks: Whether the table of the optical flow can be computed in chunks.
    """
    tilings = [limits.tiles] if limits.tiles else grids(height, width, max(SHORTEST_TILE, 2 * limits.tile_overlap))
    tilings.sort(key=lambda tiles: tiles != WHOLE)
    return tuple(
        StableVSRPlan(place, tiles, limits.tile_overlap, count, in_strips, in_chunks)
        for tiles in tilings
        for in_strips in ((False, True) if strips else (False,))
        for place in places
        for count in (reversed(AT_ONCE) if tiles == WHOLE else AT_ONCE[:1])
        for in_chunks in ((False, True) if chunks else (False,))
    )
