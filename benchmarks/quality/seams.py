"""Can one see where segments meet? The same pairs of frames, with a border between them and without.

    python -m benchmarks.quality.seams CLIP [CLIP ...] [--frames 60] [--model star-small] [--write docs/reliability.md]

Each clip is upscaled twice: once from its first frame, cut as `starvsr upscale` cuts it, and once from half a segment
later, so that every pair of frames that had a border between them has none. A camera that moves, or a keyframe of
the input, is in both; what differs is the border's. Without clips, some are made by the package's own sample maker.
Nothing is encoded: frames are compared as they leave the stream.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reliability.torture import write_table
from starvsr.engine.chunk_plan import ChunkPlan, PlanInput, Sizes
from starvsr.engine.executor import LocalExecutor
from starvsr.engine.render import Finish
from starvsr.engine.segment_task import RenderSettings
from starvsr.engine.segments import plan_segments
from starvsr.engine.stream import StreamSettings, upscale_stream
from starvsr.engine.upscaler import Upscaler
from starvsr.families.job_settings import plain_settings
from starvsr.families.options import UpscaleOptions
from starvsr.metrics.color_drift import ciede2000, mean_lab
from starvsr.video import SceneDetector, VideoReader

BEGIN, END = "<!-- seams:begin -->", "<!-- seams:end -->"
MOST_RATIO, MOST_STEP = 1.02, 0.5
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """A frame of an array, for the stream."""

    pixels: Any
    pts: int
    duration: int = 1


@dataclass(frozen=True)
class Seams:
    """What the borders of a clip show.

    Args:
        num_borders: Borders inside shots.
        ratio: Mean difference of neighbouring frames across borders, by that of the same frames without a border.
        raw_ratio: The same by the mean of all other pairs of the clip: the content's changes are in it.
        step: Largest colour step (CIEDE2000) that a border adds between the mean colours of its two frames.
        raw_step: Largest colour step across a border, the content's in it.
    """

    num_borders: int
    ratio: float
    raw_ratio: float
    step: float
    raw_step: float

    @property
    def holds(self) -> bool:
        """Whether the gates hold."""
        return self.ratio <= MOST_RATIO and self.step <= MOST_STEP


def enlarge(
    frames: Sequence[Picture], upscaler: Upscaler, cut: ChunkPlan, *, scenes: bool = True
) -> tuple[list[Picture], list[int], list[int]]:
    """Run frames through the stream.

    Returns:
        The enlarged frames, the frames at which segments begin in mid-shot, and those at which shots begin.
    """
    made: list[Any] = []
    job = plain_settings(upscaler)
    traits = upscaler.traits_for(job.values)
    size = (frames[0].shape[1] * job.scale, frames[0].shape[0] * job.scale)
    detector = SceneDetector()
    cuts = [index for index, pixels in enumerate(frames) if scenes and detector.is_cut(pixels)]
    segments = plan_segments(len(frames), cut.length, cut.overlap, cut.crossfade, cuts, cut.overlap_after, cut.multiple)
    with upscaler.open(job, cut) as session:
        upscale_stream(
            [Shot(pixels, index) for index, pixels in enumerate(frames)],
            segments,
            lambda pixels, pts, duration: made.append(pixels),
            LocalExecutor(session),
            StreamSettings(RenderSettings(cut, job, traits), Finish(*size, color=traits.color)),
        )
    borders = [segment.keep_start for segment in segments if segment.keep_start > segment.shot_start]
    return made, borders, sorted({segment.shot_start for segment in segments})


def default_cut(frames: Sequence[Picture], upscaler: Upscaler, **options: Any) -> ChunkPlan:
    """Give the cut that ``starvsr upscale`` would choose."""
    height, width = frames[0].shape[:2]
    job = plain_settings(upscaler)
    sizes = Sizes(height, width, job.scale, height * job.scale, width * job.scale)
    return upscaler.plan(PlanInput(sizes, UpscaleOptions(**options)), job)


def look_at(frames: Sequence[Picture], upscaler: Upscaler, cut: ChunkPlan, *, scenes: bool = True) -> Seams:
    """Measure the borders of a clip.

    Raises:
        ValueError: It has none that the second run leaves out.
    """
    made, borders, starts = enlarge(frames, upscaler, cut, scenes=scenes)
    late = max(1, cut.length // 2)
    other, other_borders, _ = enlarge(frames[late:], upscaler, cut, scenes=scenes)
    moved = {border + late for border in other_borders}
    compared = [k for k in borders if k > late + 1 and not moved & {k - 1, k, k + 1}]
    if not compared:
        raise ValueError("no border to look at: the clip is too short")
    changes = _changes(made)
    with_border = np.array([changes[k] for k in compared])
    without = np.array([_change(other[k - late - 1], other[k - late]) for k in compared])
    inside = [changes[k] for k in range(1, len(made)) if k not in borders and k not in starts]
    colors = {k: mean_lab(made[k]) for b in compared for k in (b - 1, b)}
    calm = {k: mean_lab(other[k - late]) for b in compared for k in (b - 1, b)}
    steps = [float(ciede2000(colors[k - 1] + calm[k] - calm[k - 1], colors[k])) for k in compared]
    raw_steps = [float(ciede2000(colors[k - 1], colors[k])) for k in compared]
    return Seams(
        len(compared),
        float(with_border.mean() / without.mean()),
        float(with_border.mean() / np.mean(inside)),
        max(steps),
        max(raw_steps),
    )


def _changes(frames: Sequence[Picture]) -> list[float]:
    """Give the mean absolute difference of each frame to the one before; 0 for the first."""
    return [0.0] + [_change(a, b) for a, b in pairwise(frames)]


def _change(one: Picture, other: Picture) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def read(path: Path, count: int) -> list[Picture]:
    """Read the first frames of a clip, 8 bits."""
    frames = []
    with VideoReader(path) as reader:
        for frame in reader:
            pixels = frame.pixels[..., :3]
            frames.append(np.asarray(pixels if pixels.dtype == np.uint8 else pixels // 257, np.uint8))
            if len(frames) == count:
                break
    return frames


def samples(folder: Path, count: int) -> Iterable[tuple[str, list[Picture]]]:
    """Make clips with the project's own sample maker."""
    from starvsr.data.sample import make_sample_clip

    for seed, photos in enumerate((("coffee",), ("chelsea",), ("astronaut", "rocket"))):
        path = make_sample_clip(folder / f"{seed}.mp4", seed=seed, width=96, height=64, num_frames=count, photos=photos)
        yield f"sample: {' and '.join(photos)}", read(path, count)


def as_table(rows: Sequence[tuple[str, str, ChunkPlan, Seams]]) -> str:
    """Write the rows as a table of Markdown."""
    head = [
        "clip",
        "size",
        "segment, context, blended",
        "borders",
        "difference across / without",
        "of all pairs",
        "colour step added",
        "in all",
    ]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for name, size, cut, seen in rows:
        cells = [
            name,
            size,
            f"{cut.length}, {cut.overlap}, {cut.crossfade}",
            str(seen.num_borders),
            f"{seen.ratio:.4f}",
        ]
        cells += [f"{seen.raw_ratio:.3f}", f"{seen.step:.3f}", f"{seen.raw_step:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write it where it is wanted; 1 when a gate does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--frames", type=int, default=60, help="of each clip (default: 60)")
    parser.add_argument("--model", default="star-small")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    from starvsr.families.loading import load_for

    upscaler = load_for(UpscaleOptions(model=options.model))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        given = ((path.stem, read(path, options.frames)) for path in options.clips)
        for name, frames in given if options.clips else samples(Path(folder), options.frames):
            cut = default_cut(frames, upscaler)
            seen = look_at(frames, upscaler, cut)
            print(f"{name}: {dataclasses.asdict(seen)}", file=sys.stderr, flush=True)
            rows.append((name, f"{frames[0].shape[1]}x{frames[0].shape[0]}", cut, seen))
    table = as_table(rows)
    print(table)
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0 if all(seen.holds for *_, seen in rows) else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
