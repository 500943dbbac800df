"""Do the borders of STAR on CogVideoX show? Frames across them beside the same frames without a border.

    python -m benchmarks.quality.cogvideox_seams [--size 16x16] [--write docs/models.md]

A moving pattern is restored by networks that leave pictures nearly as they are (`identity_cogvideox`): the transformer
exactly so, then with each call shifted by up to a level, since calls that see other frames differ. Once it is cut into
segments, windows or tiles as jobs are, and once so that the same place has no border. The figure is the mean difference
of neighbours across borders (frames in time, rows and columns in space, wherever two parts are blended) by that of the
same ones without. "without context" has segments begin two frames before those that they keep, so that the first
latent frame of the causal autoencoder shows.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.marked import replace_marked
from benchmarks.quality.identity_cogvideox import STEPS, identity_upscaler
from benchmarks.quality.seams import enlarge
from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.segments import Segment
from starvsr.engine.tiles import grid_of_tiles
from starvsr.engine.upscaler import JobSettings
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.families.star_cogvideox.tiles import CELL_PX, FRAMES_PER_LATENT, axis_of_tiles
from starvsr.families.star_cogvideox.upscaler import CROSSFADE, OVERLAP, OVERLAP_AFTER, SEGMENT
from starvsr.quantities import parse_box
from starvsr.windows import Window

BEGIN, END = "<!-- cogvideox seams: begin -->", "<!-- cogvideox seams: end -->"
MOST = 1.02
OFFSETS = 0.0, 1.0
"""Shifts of calls, in levels."""
TILE_OVERLAP = 8
"""Cells that tiles share: 64 pixels of the result."""
LEAST_CELLS = 18
"""Sides of frames that are cut into two tiles."""


@dataclass(frozen=True)
class Figure:
    """What the borders of a kind show.

    Args:
        borders: Kind of border.
        offset: Largest shift of a call, in levels.
        ratio: Difference of neighbours across borders, by that of the same ones without.
        step: Largest step of the mean colour that a border adds between two neighbours, in levels.
        apart: Mean difference of pixels to those without a border, in levels.
        count: Borders.
    """

    borders: str
    offset: float
    ratio: float
    step: float
    apart: float
    count: int


def pattern(num_frames: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    """Return frames of waves that move, uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:height, :width].astype(float)
    waves: list[Any] = [
        (*(2 * np.pi / rng.uniform(30, 90) * part for part in direction), rng.uniform(-0.4, 0.4), rng.uniform(0, 6, 3))
        for direction in rng.normal(size=(12, 2)) / 1.5
    ]
    frames = []
    for time in range(num_frames):
        total = sum(np.sin((a * row + b * column + c * time)[..., None] + phase) for a, b, c, phase in waves)
        frames.append((127.5 + 22 * np.asarray(total)).clip(0, 255).astype(np.uint8))
    return frames


def plan(size: tuple[int, int], length: int, context: bool = True, **tiling: Any) -> ChunkPlan:
    """Return the plan of a job, with the family's context and cross-fade around segments.

    Args:
        size: Height and width of frames.
        length: Frames kept in a segment.
        context: Whether segments see frames before those that they keep.
        tiling: ``tiles`` and ``coding_tiles`` of `CogVideoXPlan`.
    """
    return ChunkPlan(
        length, OVERLAP if context else CROSSFADE // 2, CROSSFADE, grid_of_tiles(*size, None, 0), 0, 0,
        memory_plan=CogVideoXPlan(tile_overlap=TILE_OVERLAP, **tiling), overlap_after=OVERLAP_AFTER,
        multiple=FRAMES_PER_LATENT,
    )  # fmt: skip


def restored(frames: Sequence[NDArray[np.uint8]], offset: float, window: int, **tiling: Any) -> Tensor:
    """Return a clip of 4k + 1 frames restored in one segment, [T, 3, H, W] in levels.

    Args:
        frames: The clip.
        offset: Largest shift of a call, in levels.
        window: Frames that the transformer sees at once.
        tiling: See `plan`.
    """
    lq = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    cut = plan((lq.shape[3], lq.shape[4]), len(frames), **tiling)
    job = JobSettings(1, STEPS, 0, {"guidance": 1.0, "window": window})
    whole = Segment(0, 0, len(frames), 0, len(frames))
    with identity_upscaler(offset).open(job, cut) as session:
        return 127.5 * torch.stack(list(session.upscale(lq, slice(None), segment=whole, first_frame=0)))


def segments(size: tuple[int, int], offset: float, length: int = SEGMENT // 2, *, context: bool = True) -> Figure:
    """Compare a clip with one that begins half a segment later."""
    late, cut = length // 2, plan(size, length, context)
    frames = pattern(3 * length + 4, *size)
    made, borders, _ = enlarge(frames, identity_upscaler(offset), cut, scenes=False)
    other, other_borders, _ = enlarge(frames[late:], identity_upscaler(offset), cut, scenes=False)
    reach = CROSSFADE // 2 + 1
    free = [border for border in borders if min(abs(border - late - each) for each in [0, *other_borders]) >= reach]
    pairs = [k for border in free for k in range(border - reach + 1, border + reach)]
    name = "segments" if context else "segments without context"
    with_border, without = (torch.from_numpy(np.stack(each).astype(np.float32)) for each in (made[late:], other))
    return _figure(name, offset, with_border, without, 0, [k - late for k in pairs], len(free))


def windows(size: tuple[int, int], offset: float, window: int = 25, count: int = 3) -> Figure:
    """Compare a clip in windows with the same in one."""
    latents = (window - 1) // FRAMES_PER_LATENT + 1
    frames = pattern(1 + FRAMES_PER_LATENT * (count * (latents - 2) + 1), *size)
    cut, whole = (restored(frames, offset, each) for each in (window, len(frames)))
    model = identity_upscaler().pipeline({"window": window}, 1)
    parts = model.windows((len(frames) - 1) // FRAMES_PER_LATENT + 1)
    places = [k for k in _shared(parts, FRAMES_PER_LATENT, FRAMES_PER_LATENT - 1) if k < len(frames)]
    return _figure("windows", offset, cut, whole, 0, places, len(parts) - 1)


def tiles(size: tuple[int, int], offset: float, tiling: str) -> list[Figure]:
    """Compare a clip in 2 x 2 tiles with whole frames; gives the figures of rows and of columns.

    Args:
        size: Height and width of frames.
        offset: Largest shift of a call, in levels.
        tiling: ``tiles`` of the transformer, or ``coding_tiles`` of the autoencoder.
    """
    size = max(size[0], LEAST_CELLS * CELL_PX), max(size[1], LEAST_CELLS * CELL_PX)
    frames = pattern(1, *size)
    cut, whole = restored(frames, offset, 25, **{tiling: (2, 2)}), restored(frames, offset, 25)
    found = []
    for axis, name in ((2, "rows"), (3, "columns")):
        parts = axis_of_tiles(whole.shape[axis] // CELL_PX, 2, TILE_OVERLAP)
        kind = f"tiles of the {'transformer' if tiling == 'tiles' else 'autoencoder'}, {name}"
        found.append(_figure(kind, offset, cut, whole, axis, _shared(parts, CELL_PX), len(parts) - 1))
    return found


def _shared(parts: Sequence[Window], step: int, shift: int = 0) -> list[int]:
    """Return where neighbours share an axis, at both ends one further, in steps of it."""
    spans = [(right.start, left.stop) for left, right in pairwise(parts)]
    return [at for start, stop in spans for at in range(max(1, step * start - shift), step * stop - shift + 1)]


def _figure(
    borders: str, offset: float, cut: Tensor, whole: Tensor, axis: int, places: Sequence[int], count: int
) -> Figure:
    """Compare neighbours k - 1 and k along an axis, for each place k."""
    chosen = torch.tensor(places)
    one, other = (clip.diff(dim=axis).index_select(axis, chosen - 1).transpose(0, axis) for clip in (cut, whole))
    apart = (cut - whole).index_select(axis, chosen).abs().mean()
    step = (one - other).flatten(1).mean(1).abs().max()
    return Figure(borders, offset, float(one.abs().mean() / other.abs().mean()), float(step), float(apart), count)


def measure(size: tuple[int, int]) -> list[Figure]:
    """Return all figures."""
    found = []
    for offset in OFFSETS:
        found += [segments(size, offset), windows(size, offset)]
        found += [each for tiling in ("tiles", "coding_tiles") for each in tiles(size, offset, tiling)]
    return [*found, segments(size, 0.0, context=False)]


def as_table(found: Sequence[Figure]) -> str:
    """Write the figures as a table of Markdown."""
    lines = [
        "| borders | number | calls shifted by | difference across / without | colour step added | pixels apart |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        cells = f"{each.ratio:.4f} | {each.step:.2f} levels | {each.apart:.2f} levels"
        lines.append(f"| {each.borders} | {each.count} | {each.offset:g} levels | {cells} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write it where it is wanted; 1 when a figure is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_box, default=(16, 16), help="width and height of frames")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    given = parser.parse_args(arguments)
    found = measure(given.size[::-1])
    table = as_table(found)
    print(table)
    if given.write is not None:
        replace_marked(given.write, BEGIN, END, table)
    for each in found:
        print(dataclasses.asdict(each), file=sys.stderr)
    return int(any(each.ratio > MOST for each in found if "without" not in each.borders))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
