"""The plan of a job with a model that places its weights and tiles frames itself. Arithmetic only: no torch.

What changes bytes (the length of segments, tiles) depends on the budget alone. Without one that is the free memory of
the device when the job begins; the job's manifest keeps the plan, so that a resumed job continues with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from starvsr.engine.chunk_plan import (
    ChunkPlan,
    Sizes,
    default_crossfade,
    estimate_memory,
    loosening_hint,
    segment_lengths,
)
from starvsr.engine.tiles import grid_of_tiles
from starvsr.engine.traits import Traits
from starvsr.errors import ResourceError
from starvsr.offload.footprint import ClipSize, Footprint, PlanLimits, resident_bytes
from starvsr.offload.memory_plan import Place, PlanT
from starvsr.offload.search import Candidate, best_of, candidates
from starvsr.offload.tile_grids import tiles_of_side
from starvsr.options import JobOptions
from starvsr.quantities import format_size

GB = 2**30
CPU_BUDGETS = (4 * GB, 8 * GB, 16 * GB, 32 * GB, 64 * GB)
"""Beside the weights: the first of these in which whole frames go through the network, without `--memory`."""


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is made for.

    Args:
        sizes: Sizes of frames.
        traits: Of the model.
        options: The user's.
        rows: Latent rows of a padded frame.
        columns: Latent columns.
        cell_px: Input pixels of a latent cell's side.
        num_frames: Frames of the job, if known.
    """

    sizes: Sizes
    traits: Traits
    options: JobOptions
    rows: int
    columns: int
    cell_px: float
    num_frames: int | None

    @property
    def overlap(self) -> int:
        """Frames of context before a segment."""
        return self._context(self.traits.overlap)

    @property
    def overlap_after(self) -> int:
        """Frames of context after a segment."""
        after = self.traits.overlap_after
        return self._context(self.traits.overlap if after is None else after)

    def _context(self, of_model: int) -> int:
        given = self.options.overlap
        return max(of_model if given is None else given, -(-(self.options.crossfade or 0) // 2))

    def crossfade(self, length: int) -> int:
        """Return the frames over which neighbouring segments of ``length`` kept frames are blended."""
        if self.options.crossfade is not None:
            return self.options.crossfade
        return default_crossfade(self.traits, length, self.overlap, self.overlap_after)

    def clip(self, length: int) -> ClipSize:
        """Return the size of a segment of ``length`` kept frames, filled up to what the model takes."""
        seen = length + self.overlap + self.overlap_after
        seen = seen if self.num_frames is None else max(1, min(seen, self.num_frames))
        return ClipSize(self.traits.lengths.at_least(seen), self.rows, self.columns)

    def kept(self, length: int) -> int:
        """Return the frames that such a segment keeps, given the length of the job."""
        return length if self.num_frames is None else max(1, min(length, self.num_frames))

    def host_bytes(self, length: int) -> int:
        """Return what reading, holding and writing frames takes in host memory."""
        bare = dataclasses.replace(self.traits, fixed_bytes=0, bytes_per_pixel=0, bytes_per_tile_pixel=0)
        grid = grid_of_tiles(self.sizes.height, self.sizes.width, None, 0)
        crossfade = self.crossfade(length)
        return estimate_memory(self.sizes, bare, self.options, length, self.overlap, crossfade, grid)


def plan_job(
    footprint: Footprint[PlanT],
    request: PlanRequest,
    places: tuple[Place, ...],
    free: int | None,
    before: Mapping[str, Any] | None = None,
) -> ChunkPlan:
    """Choose segments and memory plan: the least work that fits.

    Args:
        footprint: Of the model.
        request: The job.
        places: Where weights may live.
        free: Bytes free on the device; None on a CPU, where the budget is the process's.
        before: The plan in the manifest of a job that is resumed; it is kept, unless the user names a budget now.

    Raises:
        ResourceError: Nothing fits the memory that the user named.
    """
    return _Planning(footprint, request, places, free).plan(before)


class _Planning(Generic[PlanT]):
    def __init__(
        self, footprint: Footprint[PlanT], request: PlanRequest, places: tuple[Place, ...], free: int | None
    ) -> None:
        self.footprint, self.request, self.places, self.free = footprint, request, places, free
        self.options = request.options

    def plan(self, before: Mapping[str, Any] | None) -> ChunkPlan:
        if before is not None and self.options.memory == "auto":
            kept = self._as_before(before)
            if kept is not None:
                return kept
        found = self._candidates()
        needs = {id(each): each.prediction.peak + host for each, host in found}
        considered = [each for each, _ in found]

        def need(each: Candidate[PlanT]) -> int:
            return needs[id(each)]

        for budget in self._budgets():
            best = best_of(each for each in considered if need(each) <= budget)
            if best is not None and self._is_enough(best):
                return self._chunk_plan(best, need(best), budget)
        smallest = min(considered, key=need)
        if self.options.memory == "auto":
            best = best_of(each for each in considered if need(each) <= budget) or smallest
            return self._chunk_plan(best, need(best), budget)
        where = "" if self.free is None else " on the device"
        sizes = self.request.sizes
        raise ResourceError(
            f"frames of {sizes.width}x{sizes.height} need {format_size(need(smallest))}{where} at least and "
            f"--memory is {format_size(budget)}: raise it{loosening_hint(self.options)}"
        )

    def _is_enough(self, best: Candidate[PlanT]) -> bool:
        """Whether a larger budget is not tried: on a CPU, without one from the user, frames should stay whole."""
        return self.options.memory != "auto" or self.free is not None or best.plan.whole_frames

    def _candidates(self) -> list[tuple[Candidate[PlanT], int]]:
        """Return all candidates, with the host memory of each that counts towards the budget."""
        request = self.request
        plans = self.footprint.candidates(request.clip(1), self._limits())
        found = []
        for length in segment_lengths(request.traits, self.options):
            host = request.host_bytes(length) if self.free is None else 0
            for each in candidates(self.footprint, [(request.kept(length), request.clip(length))], plans):
                found.append((dataclasses.replace(each, length=length), host))
        return found

    def _budgets(self) -> list[int]:
        if isinstance(self.options.memory, int):
            return [self.options.memory]
        if self.free is not None:
            return [self.free]
        return [resident_bytes(self.footprint) + budget for budget in CPU_BUDGETS]

    def _limits(self) -> PlanLimits:
        request, options = self.request, self.options
        given = request.traits.tile_overlap if options.tile_overlap is None else options.tile_overlap
        overlap = max(1, round(given / request.cell_px))
        tiles: tuple[int, int] | None = None
        if options.tile == "off":
            tiles = 1, 1
        elif isinstance(options.tile, int):
            tiles = tiles_of_side(round(options.tile / request.cell_px), overlap, request.rows, request.columns)
        return PlanLimits(self.places, tiles, overlap)

    def _as_before(self, before: Mapping[str, Any]) -> ChunkPlan | None:
        """Return the plan of a manifest; None if there is none that can be read."""
        request = self.request
        try:
            plan, length = self.footprint.plan_from(before["memory_plan"]), int(before["length"])
            (kept,) = candidates(self.footprint, [(request.kept(length), request.clip(length))], [plan])
        except (KeyError, TypeError, ValueError):
            return None
        if length not in segment_lengths(request.traits, self.options):
            return None
        need = kept.prediction.peak + (request.host_bytes(length) if self.footprint.device == "cpu" else 0)
        return self._chunk_plan(dataclasses.replace(kept, length=length), need, need)

    def _chunk_plan(self, chosen: Candidate[PlanT], need: int, budget: int) -> ChunkPlan:
        request = self.request
        return ChunkPlan(
            chosen.length,
            request.overlap,
            request.crossfade(chosen.length),
            grid_of_tiles(request.sizes.height, request.sizes.width, None, 0),
            need,
            budget,
            memory_plan=chosen.plan,
            prediction=chosen.prediction,
            overlap_after=None if request.overlap_after == request.overlap else request.overlap_after,
            multiple=request.traits.lengths.multiple,
        )
