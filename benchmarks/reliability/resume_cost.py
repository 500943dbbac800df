"""What does a resumed job pay for the frames that are finished? They are decoded, not upscaled: here is the share.

    python -m benchmarks.reliability.resume_cost CLIP [CLIP ...] [--frames 24] [--write docs/reliability.md]

Processor time of decoding a frame that is passed over, against that of decoding and upscaling one with star-small.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.quality.seams import default_cut, enlarge, read
from benchmarks.reliability.torture import write_table
from starvsr.engine.upscaler import Upscaler
from starvsr.families.options import UpscaleOptions
from starvsr.video import VideoReader

BEGIN, END = "<!-- resume:begin -->", "<!-- resume:end -->"
_PASSES = 5


def seconds_to_pass_over(path: Path) -> float:
    """Return the processor seconds of a frame that is passed over."""
    frames = 0
    began = time.process_time()
    for _ in range(_PASSES):
        with VideoReader(path) as reader:
            for _frame in reader.read(skip=sys.maxsize):
                pass
            frames += reader.num_frames_read
    return (time.process_time() - began) / frames


def seconds_to_upscale(path: Path, count: int, upscaler: Upscaler) -> tuple[float, tuple[int, int]]:
    """Return the processor seconds of a frame that is upscaled, and its size."""
    began = time.process_time()
    frames = read(path, count)
    enlarge(frames, upscaler, default_cut(frames, upscaler))
    height, width = frames[0].shape[:2]
    return (time.process_time() - began) / len(frames), (width, height)


def as_table(rows: Sequence[tuple[str, tuple[int, int], float, float]]) -> str:
    """Write (name, size, seconds passed over, seconds upscaled) as a table of Markdown."""
    lines = ["| clip | size | a frame passed over | a frame upscaled | share |", "| --- | --- | --- | --- | --- |"]
    for name, (width, height), over, upscaled in rows:
        cells = [name, f"{width}x{height}", f"{1000 * over:.2f} ms", f"{1000 * upscaled:.0f} ms"]
        lines.append(f"| {' | '.join(cells)} | {over / upscaled:.2%} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write it where it is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=24, help="to upscale of each clip (default: 24)")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    from starvsr.families.loading import load_for

    upscaler = load_for(UpscaleOptions())
    rows = []
    for path in options.clips:
        upscaled, size = seconds_to_upscale(path, options.frames, upscaler)
        rows.append((path.stem, size, seconds_to_pass_over(path), upscaled))
    table = as_table(rows)
    print(table)
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
