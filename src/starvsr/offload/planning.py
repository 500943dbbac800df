"""The plan of a job with a published model: segments, and the room they are made in. Arithmetic only: no torch.

What changes bytes (the length of segments, tiles) depends on the budget alone. Without one it is the free memory of the
device when the job begins; the job's books keep the plan, so that a resumed job goes on with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starvsr.engine.chunk_plan import ChunkPlan, Sizes, estimate_memory, segment_lengths
from starvsr.engine.tiles import grid_of_tiles
from starvsr.engine.traits import Traits
from starvsr.errors import ResourceError
from starvsr.families.star_i2vgen.footprint.forecast import ModelSizes
from starvsr.offload.memory_plan import Place, Room
from starvsr.offload.search import Choice, Clip, best_of, choices, rooms_for, with_tiles_of
from starvsr.options import JobOptions
from starvsr.quantities import format_size

GB = 2**30
CPU_BUDGETS = (4 * GB, 8 * GB, 16 * GB, 32 * GB, 64 * GB)
"""Beside the weights: the first of these in which a whole frame goes through the network, without `--memory`."""


@dataclass(frozen=True)
class Wish:
    """What a job asks of the plan.

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
        """Frames of context on each side of a segment."""
        given = self.options.overlap
        overlap = self.traits.overlap if given is None else given
        return max(overlap, -(-(self.options.crossfade or 0) // 2))

    def clip(self, length: int) -> Clip:
        """Return what a segment of ``length`` kept frames is."""
        seen = length + 2 * self.overlap
        return Clip(seen if self.num_frames is None else max(1, min(seen, self.num_frames)), self.rows, self.columns)

    def kept(self, length: int) -> int:
        """Frames that such a segment keeps of a job this short."""
        return length if self.num_frames is None else max(1, min(length, self.num_frames))

    def host_bytes(self, length: int) -> int:
        """Return what reading, holding and writing frames takes in the host's memory."""
        bare = dataclasses.replace(self.traits, fixed_bytes=0, bytes_per_pixel=0, bytes_per_tile_pixel=0)
        grid = grid_of_tiles(self.sizes.height, self.sizes.width, None, 0)
        crossfade = self.options.crossfade or 0
        return estimate_memory(self.sizes, bare, self.options, length, self.overlap, crossfade, grid)


def plan_published(
    model: ModelSizes, wish: Wish, places: tuple[Place, ...], free: int | None, before: Mapping[str, Any] | None = None
) -> ChunkPlan:
    """Choose segments and room: the least work that fits.

    Args:
        model: The model's sizes.
        wish: The job.
        places: Where weights may live.
        free: Bytes free on the device; None on a CPU, where the budget is the process's.
        before: The cut in the books of a job that is taken up again; it is kept, unless the user names a budget now.

    Raises:
        ResourceError: nothing fits the memory that the user named.
    """
    rooms = _rooms(model, wish, places)
    on_host = free is None
    options = wish.options
    if before is not None and options.memory == "auto":
        kept = _as_before(model, wish, before)
        if kept is not None:
            return kept
    found = [
        choice
        for length in segment_lengths(wish.traits, options)
        for choice in choices(model, [(wish.kept(length), wish.clip(length))], rooms)
        for choice in [dataclasses.replace(choice, length=length)]
    ]
    hosts = {length: wish.host_bytes(length) if on_host else 0 for length in {choice.length for choice in found}}

    def need(choice: Choice) -> int:
        return choice.prediction.peak + hosts[choice.length]

    for budget in _budgets(model, options, free):
        best = best_of(choice for choice in found if need(choice) <= budget)
        if best is not None and (options.memory != "auto" or not on_host or best.room.tiles == (1, 1)):
            return _cut(wish, best, need(best), budget)
    smallest = min(found, key=need)
    if options.memory == "auto":
        best = best_of(choice for choice in found if need(choice) <= budget) or smallest
        return _cut(wish, best, need(best), budget)
    where = "" if on_host else " on the device"
    raise ResourceError(
        f"frames of {wish.sizes.width}x{wish.sizes.height} need {format_size(need(smallest))}{where} at least and "
        f"--memory is {format_size(budget)}: raise it{_loosen(options)}"
    )


def _budgets(model: ModelSizes, options: JobOptions, free: int | None) -> list[int]:
    if isinstance(options.memory, int):
        return [options.memory]
    if free is not None:
        return [free]
    return [model.network_bytes + model.vae_bytes + budget for budget in CPU_BUDGETS]


def _rooms(model: ModelSizes, wish: Wish, places: tuple[Place, ...]) -> tuple[Room, ...]:
    options = wish.options
    given = wish.traits.tile_overlap if options.tile_overlap is None else options.tile_overlap
    overlap = max(1, round(given / wish.cell_px))
    tiles: tuple[int, int] | None = None
    if options.tile == "off":
        tiles = 1, 1
    elif isinstance(options.tile, int):
        tiles = with_tiles_of(round(options.tile / wish.cell_px), overlap, wish.rows, wish.columns)
    return rooms_for(model, wish.rows, wish.columns, places, tiles, overlap)


def _as_before(model: ModelSizes, wish: Wish, before: Mapping[str, Any]) -> ChunkPlan | None:
    """Return the cut of the books, None when they have none that can be read."""
    try:
        room, length = Room.from_dict(before["room"]), int(before["length"])
        (choice,) = choices(model, [(wish.kept(length), wish.clip(length))], [room])
    except (KeyError, TypeError, ValueError):
        return None
    if length not in segment_lengths(wish.traits, wish.options):
        return None
    need = choice.prediction.peak + (wish.host_bytes(length) if model.device == "cpu" else 0)
    return _cut(wish, dataclasses.replace(choice, length=length), need, need)


def _cut(wish: Wish, choice: Choice, need: int, budget: int) -> ChunkPlan:
    grid = grid_of_tiles(wish.sizes.height, wish.sizes.width, None, 0)
    options = wish.options
    return ChunkPlan(
        choice.length,
        wish.overlap,
        options.crossfade or 0,
        grid,
        need,
        budget,
        room=choice.room,
        prediction=choice.prediction,
    )


def _loosen(options: JobOptions) -> str:
    chosen = (("--segment", options.segment), ("--tile", options.tile))
    fixed = [flag for flag, value in chosen if value != "auto"]
    return f", or leave out {' and '.join(fixed)}" if fixed else ""
