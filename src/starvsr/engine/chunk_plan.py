"""The plan of a job: how the video is cut in time and space so that it stays within its memory.

Made once from the input's size, the model's traits and the options; never from the memory that happens to be
free, so that the same input and options give the same bytes on every machine. Arithmetic only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from starvsr.engine.segments import longest_crossfade
from starvsr.engine.tiles import TileGrid, grid_of_counts, grid_of_tiles
from starvsr.engine.traits import Traits
from starvsr.errors import OptionError, ResourceError
from starvsr.options import JobOptions
from starvsr.quantities import format_size

Options = TypeVar("Options", bound=JobOptions)
MB = 2**20
PROCESS_BYTES = 420 * MB  # interpreter, torch, FFmpeg: 310 after loading; work of the kernels, gaps in the heap
DEFAULT_BUDGETS = (950 * MB, 2000 * MB, 4000 * MB)
"""Beside the model's own weights: the least of these that a video can be done in without waste; 8K needs the last."""
WASTE = 1.4
"""A budget wastes time if it takes more than this factor of the work that the largest one takes."""
CARRIED_WORK, CARRIED_WASTE = 0.1, 1.05
"""Where the effect of context is known from the segment before: its work, which is to recognise it, with some weight
for worker processes, which have to compute it; and `WASTE` for such models, whose overlaps cost little else."""
ENCODER_FRAMES = (10, 45)  # frames an encoder holds: at least, and with its longest look-ahead
ENCODER_BYTES_PER_PIXEL = 5  # what x264 keeps of a frame
ENCODER_BYTES = 150 * MB  # beyond this, the writer shortens the encoder's look-ahead
LONGEST_SEGMENT = 16
SHORTEST_TILE = 48
_HARDLY_MORE = 1.1
_LENGTHS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)
_TILE_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)


class ModelPlan(Protocol):
    """How a model that places its weights and tiles frames itself is going to do so."""

    def describe(self) -> str:
        """Describe the plan in words."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the manifest of a job."""
        ...


class MemoryPrediction(Protocol):
    """What such a model is predicted to need."""

    @property
    def peak(self) -> int:
        """Most bytes at once."""
        ...

    def describe(self) -> str:
        """Describe the prediction in words, by component."""
        ...


@dataclass(frozen=True)
class ChunkPlan:
    """How a video is cut.

    Args:
        length: Frames kept per segment.
        overlap: Frames of context on each side.
        crossfade: Frames over which neighbouring segments are blended.
        grid: Tiles of a frame.
        memory: Estimated peak memory of the process in bytes.
        budget: The memory that the plan was made for.
        memory_plan: Of models that place their weights and tile frames themselves.
        prediction: What they are predicted to need, by component.
        overlap_after: Frames of context after a segment; None is as many as before it.
        multiple: Frames that the model sees as one.
        carries: Whether the context before a segment is known from the segment before it (`Traits.carries`).
    """

    length: int
    overlap: int
    crossfade: int
    grid: TileGrid
    memory: int
    budget: int
    memory_plan: ModelPlan | None = None
    prediction: MemoryPrediction | None = None
    overlap_after: int | None = None
    multiple: int = 1
    carries: bool = False

    @property
    def work(self) -> float:
        """Input pixels that the network sees for each input pixel: 1 for one piece, more with overlaps."""
        after = self.overlap if self.overlap_after is None else self.overlap_after
        before = self.overlap * (CARRIED_WORK if self.carries else 1)
        frames = (self.length + before + after) / self.length
        return frames * self.grid.work_px / (self.grid.height * self.grid.width)

    def describe(self) -> str:
        """Describe the plan in words."""
        grid = self.grid
        tiles = f"{len(grid.columns)} x {len(grid.rows)} tiles" if grid.num_tiles > 1 else "whole frames"
        fade = f", {self.crossfade} cross-faded" if self.crossfade else ""
        frames = "1 frame" if self.length == 1 else f"{self.length} frames"
        if self.memory_plan is not None:
            tiles = self.memory_plan.describe()
        context = f"{self.overlap} of context on each side"
        if self.overlap_after == 0 and self.overlap:
            context = f"{self.overlap} of context before them" + (", carried on" if self.carries else "")
        return f"segments of {frames} with {context}{fade}; {tiles}"


@dataclass(frozen=True)
class Sizes:
    """Sizes that memory depends on: input, network's result and output in pixels; bytes per sample."""

    height: int
    width: int
    model_scale: int
    out_height: int
    out_width: int
    sample_bytes: int = 1
    channels: int = 3

    @property
    def network_px(self) -> int:
        """Pixels of a frame as the network makes it."""
        return self.height * self.width * self.model_scale**2

    @property
    def out_px(self) -> int:
        """Pixels of a frame as it is written."""
        return self.out_height * self.out_width


@dataclass(frozen=True)
class PlanInput:
    """What a plan is made from, beside the model.

    Args:
        sizes: Sizes of frames.
        options: What the user asked for.
        num_frames: Frames of the job, if known.
        before: The plan in the manifest of a job that is resumed.
    """

    sizes: Sizes
    options: JobOptions
    num_frames: int | None = None
    before: Mapping[str, Any] | None = None


def whole_clip(options: Options, num_frames: int | None) -> Options:
    """Let the whole clip be one segment in one piece, unless the user has cut it otherwise."""
    changes: dict[str, object] = {"scene_cuts": False}
    if options.segment == "auto" and num_frames is not None:
        changes["segment"] = num_frames
    if options.tile == "auto" and options.tile_overlap is None:
        changes["tile"] = "off"
    if options.overlap is None:
        changes["overlap"] = -(-(options.crossfade or 0) // 2)
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


def plan_chunks(sizes: Sizes, traits: Traits, options: JobOptions) -> ChunkPlan:
    """Choose segments and tiles: the least overlapping work that fits the memory.

    Raises:
        ResourceError: nothing fits, or what the user fixed does not fit the memory that the user fixed.
        OptionError: the cross-fade does not fit the segments.
    """
    overlap = traits.overlap if options.overlap is None else options.overlap
    overlap = max(overlap, -(-(options.crossfade or 0) // 2))
    limits = [options.memory] if isinstance(options.memory, int) else _default_budgets(traits)
    candidates = list(_candidates(sizes, traits, options, overlap))
    best = []  # of each budget, the smallest first
    for budget in limits:
        cuts = [_cut(sizes, traits, options, length, overlap, grid, budget) for length, grid in candidates]
        fitting = [cut for cut in cuts if cut.memory <= budget]
        if fitting:
            best.append(min(fitting, key=lambda cut: (round(cut.work, 3), cut.memory)))
    if best:
        waste = CARRIED_WASTE if traits.carries else WASTE
        return next(cut for cut in best if cut.work <= waste * best[-1].work)
    smallest = min(cuts, key=lambda cut: cut.memory)
    if options.memory == "auto":
        return _roomier(smallest, cuts) if traits.carries else smallest
    raise ResourceError(
        f"frames of {sizes.width}x{sizes.height} need {format_size(smallest.memory)} at least and --memory "
        f"is {format_size(limits[0])}: raise it{loosening_hint(options)}"
    )


def _roomier(smallest: ChunkPlan, cuts: list[ChunkPlan]) -> ChunkPlan:
    """Return the plan with the least work among those that need hardly more than the smallest, where nothing fits."""
    close = [cut for cut in cuts if cut.memory <= _HARDLY_MORE * smallest.memory]
    return min(close, key=lambda cut: (round(cut.work, 3), cut.memory))


def loosening_hint(options: JobOptions) -> str:
    """Return the end of a sentence "raise it": options of the user that could be left out instead, if any."""
    chosen = (("--segment", options.segment), ("--tile", options.tile))
    fixed = [flag for flag, value in chosen if value != "auto"]
    return f", or leave out {' and '.join(fixed)}" if fixed else ""


def _default_budgets(traits: Traits) -> list[int]:
    return [traits.fixed_bytes + budget for budget in DEFAULT_BUDGETS]


def _candidates(sizes: Sizes, traits: Traits, options: JobOptions, overlap: int) -> Iterator[tuple[int, TileGrid]]:
    grids = list(_grids(sizes, traits, options))
    for length in _fitting_lengths(segment_lengths(traits, options), traits, options, overlap):
        for grid in grids:
            yield length, grid


def _fitting_lengths(lengths: list[int], traits: Traits, options: JobOptions, overlap: int) -> list[int]:
    """Lengthen segments so that the clip in mid-shot, context included, has a length that the network takes."""
    if isinstance(options.segment, int):
        return lengths
    context = overlap + _overlap_after(traits, overlap)
    return list(dict.fromkeys(traits.lengths.at_least(length + context) - context for length in lengths))


def _overlap_after(traits: Traits, overlap: int) -> int:
    return overlap if traits.overlap_after is None else traits.overlap_after


def segment_lengths(traits: Traits, options: JobOptions) -> list[int]:
    """Return the lengths of segments that come into question.

    Raises:
        OptionError: the cross-fade does not fit the segments.
    """
    crossfade = options.crossfade or 0
    if isinstance(options.segment, int):
        if crossfade > longest_crossfade(options.segment):
            raise OptionError(
                f"--crossfade {crossfade} does not fit --segment {options.segment}: give at most "
                f"{longest_crossfade(options.segment)}, or segments of {2 * crossfade} frames"
            )
        return [options.segment]
    longest = max(traits.segment or LONGEST_SEGMENT, 2 * crossfade)
    lengths = [n for n in _LENGTHS if n < longest and n % traits.lengths.multiple == 0] + [longest]
    return [n for n in lengths if longest_crossfade(n) >= crossfade]


def _grids(sizes: Sizes, traits: Traits, options: JobOptions) -> Iterator[TileGrid]:
    overlap = traits.tile_overlap if options.tile_overlap is None else options.tile_overlap
    if traits.tiling != "engine" and (isinstance(options.tile, int) or options.tile_overlap is not None):
        flag = "--tile" if isinstance(options.tile, int) else "--tile-overlap"
        raise OptionError(f"this model takes whole frames: leave out {flag}")
    if options.tile == "off" or traits.tiling != "engine":
        yield grid_of_tiles(sizes.height, sizes.width, None, 0)
    elif isinstance(options.tile, int):
        yield grid_of_tiles(sizes.height, sizes.width, options.tile, min(overlap, (options.tile - 1) // 2))
    else:
        shortest = max(SHORTEST_TILE, 3 * overlap)
        for num_rows in _counts(sizes.height, shortest):
            for num_columns in _counts(sizes.width, shortest):
                yield grid_of_counts(sizes.height, sizes.width, num_rows, num_columns, overlap)


def _counts(length: int, shortest: int) -> list[int]:
    return [n for n in _TILE_COUNTS if n == 1 or length // n >= shortest]


def _cut(
    sizes: Sizes,
    traits: Traits,
    options: JobOptions,
    length: int,
    overlap: int,
    grid: TileGrid,
    budget: int,
) -> ChunkPlan:
    crossfade = options.crossfade
    if crossfade is None:
        crossfade = default_crossfade(traits, length, overlap, _overlap_after(traits, overlap))
    memory = estimate_memory(sizes, traits, options, length, overlap, crossfade, grid)
    return ChunkPlan(
        length,
        overlap,
        crossfade,
        grid,
        memory,
        budget,
        overlap_after=traits.overlap_after,
        multiple=traits.lengths.multiple,
        carries=traits.carries,
    )


def default_crossfade(traits: Traits, length: int, overlap: int, overlap_after: int) -> int:
    """Return the cross-fade of a model when the user names none, shortened to what fits segments and context."""
    return min(traits.crossfade, 2 * min(overlap, overlap_after), longest_crossfade(length))


def estimate_memory(
    sizes: Sizes,
    traits: Traits,
    options: JobOptions,
    length: int,
    overlap: int,
    crossfade: int,
    grid: TileGrid,
) -> int:
    """Estimate the peak memory of the process in bytes."""
    seen = traits.lengths.at_least(length + overlap + _overlap_after(traits, overlap))
    network = (traits.bytes_per_pixel * seen + traits.bytes_per_tile_pixel) * grid.tile_px
    store = (length + 2 * crossfade) * sizes.network_px * 3 * 2  # more than whole frames take that stay in this process
    waiting = (traits.write_behind + 1) * sizes.out_px * sizes.channels * sizes.sample_bytes
    color = options.color or traits.color
    finishing = 4 * 3 * (sizes.network_px * {"none": 0, "adain": 4, "wavelet": 9}[color])
    if (traits.sharpen if options.sharpen is None else options.sharpen) > 0:
        finishing += 3 * 2 * sizes.network_px
    if sizes.out_px != sizes.network_px:
        finishing += 4 * 3 * 2 * (sizes.network_px + sizes.out_px)
    held = (max(2 * length, length + overlap) + overlap + 6) * sizes.height * sizes.width * sizes.channels
    encoder_frame = ENCODER_BYTES_PER_PIXEL * sizes.out_px * sizes.sample_bytes
    least, most = (count * encoder_frame for count in ENCODER_FRAMES)
    encoder = max(least, min(ENCODER_BYTES, most))
    # the network's work and a frame's finishing never happen at once
    peak = store + waiting + held * sizes.sample_bytes + encoder + max(network, finishing)
    return PROCESS_BYTES + traits.fixed_bytes + peak
