"""Choose segment and plan for a budget, and the next smaller plan when it was too much. Arithmetic only: no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from starvsr.families.star_i2vgen.footprint.forecast import ModelSizes, axes_of, forecast
from starvsr.offload.memory_plan import PLACES, Phase, Place, Prediction, Room

COST = {"resident": 1.0, "offload": 1.01, "stream": 1.05}
"""Assumed time of a job with weights in that place, relative to resident ones."""
CODING_TILE_COST = 0.01
"""Assumed time of a further tile of the autoencoder, relative to the whole job."""
SHORTEST_TILE = 40
"""Latent cells of a tile's side, at least."""
AT_ONCE = {"cpu": (1 << 22,), "cuda": (1 << 25, 1 << 23)}
"""Values of a map that a layer works on at once: large enough to fill the device, small enough to be no matter."""
_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
STEP_DOWN = 0.85
"""A smaller plan needs at most this share of what was too much."""


@dataclass(frozen=True)
class Clip:
    """What a segment is: frames seen, latent rows and columns of a padded frame."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Choice:
    """A plan for segments of ``length`` kept frames, with what it is predicted to need."""

    length: int
    room: Room
    prediction: Prediction
    work: float
    """Time relative to a clip in one piece with all weights at hand, as far as it is known."""


def choose(model: ModelSizes, clips: Sequence[tuple[int, Clip]], rooms: Sequence[Room], budget: int) -> Choice | None:
    """Return the least work that fits the budget; None when nothing does.

    Args:
        model: The model.
        clips: For each length of segments that comes into question, what a segment is.
        rooms: The plans that come into question.
        budget: Bytes.
    """
    return best_of(choice for choice in choices(model, clips, rooms) if choice.prediction.peak <= budget)


def best_of(fitting: Iterable[Choice]) -> Choice | None:
    """Return the least work, and of those that are equal the least memory; None of nothing."""
    return min(fitting, key=_rank, default=None)


def smallest(model: ModelSizes, clips: Sequence[tuple[int, Clip]], rooms: Sequence[Room]) -> Choice:
    """Return what needs the least memory."""
    return min(choices(model, clips, rooms), key=lambda choice: choice.prediction.peak)


def choices(model: ModelSizes, clips: Sequence[tuple[int, Clip]], rooms: Sequence[Room]) -> Iterator[Choice]:
    """Yield every combination with its prediction."""
    for length, clip in clips:
        for room in rooms:
            predicted = forecast(model, clip.num_frames, clip.height, clip.width, room)
            work = clip.num_frames / length * _tile_work(model, clip, room) * COST[room.place]
            coding = room.coding_tiles[0] * room.coding_tiles[1]
            yield Choice(length, room, predicted, work + CODING_TILE_COST * (coding - 1))


def next_smaller(model: ModelSizes, clip: Clip, room: Room, rooms: Sequence[Room], phase: Phase) -> Room | None:
    """Return the plan to go on with after a phase ran out of memory; None when there is no smaller one.

    Among the plans that need clearly less in that phase and no more in the others, the one with the least work.
    """
    before = forecast(model, clip.num_frames, clip.height, clip.width, room)
    fitting = [
        choice
        for choice in choices(model, [(clip.num_frames, clip)], rooms)
        if choice.prediction.of(phase) <= STEP_DOWN * before.of(phase)
        and all(choice.prediction.of(other) <= before.of(other) for other in before.weights)
    ]
    best = best_of(fitting)
    return None if best is None else best.room


def _rank(choice: Choice) -> tuple[float, int]:
    return round(choice.work, 3), choice.prediction.peak


def _tile_work(model: ModelSizes, clip: Clip, room: Room) -> float:
    rows, columns = axes_of(model.unet, clip.height, clip.width, room)
    return sum(t.length for t in rows) * sum(t.length for t in columns) / (clip.height * clip.width)


@lru_cache(maxsize=64)
def rooms_for(
    model: ModelSizes,
    height: int,
    width: int,
    places: tuple[Place, ...] = PLACES,
    tiles: tuple[int, int] | None = None,
    tile_overlap: int = 16,
) -> tuple[Room, ...]:
    """List the plans for frames of ``height`` x ``width`` latent cells.

    Args:
        model: The model.
        height: Latent rows.
        width: Latent columns.
        places: Where weights may live; on a CPU they are at hand in any case.
        tiles: Rows and columns of the network's tiles when the user has fixed them.
        tile_overlap: Latent cells that neighbouring tiles share.
    """
    least = max(SHORTEST_TILE, 2 * tile_overlap)
    grids = [tiles] if tiles else _grids(height, width, least)
    found = []
    for place in places if model.device != "cpu" else ("resident",):
        for at_once in AT_ONCE[model.device]:
            for grid in grids:
                for coding in _grids(height, width, SHORTEST_TILE):
                    chunk = max(1024, at_once // (8 * model.unet.width)) if model.device != "cpu" else 4096
                    found.append(Room(place, grid, coding, tile_overlap, at_once, chunk))
    return tuple(found)


def _grids(height: int, width: int, least: int) -> list[tuple[int, int]]:
    """Rows and columns of tiles, about square ones: of each number of tiles the grid with the shortest border."""
    best: dict[int, tuple[float, tuple[int, int]]] = {}
    for rows in _counts(height, least):
        for columns in _counts(width, least):
            border = rows * width + columns * height
            known = best.get(rows * columns)
            if known is None or border < known[0]:
                best[rows * columns] = border, (rows, columns)
    return [grid for _, grid in best.values()]


def _counts(cells: int, least: int) -> list[int]:
    return [count for count in _COUNTS if count == 1 or cells // count >= least]


def with_tiles_of(side: int, overlap: int, height: int, width: int) -> tuple[int, int]:
    """Return how many rows and columns of tiles of about ``side`` cells cover a frame."""
    rows, columns = (
        1 if cells <= side else -(-(cells - overlap) // max(1, side - overlap)) for cells in (height, width)
    )
    return rows, columns
