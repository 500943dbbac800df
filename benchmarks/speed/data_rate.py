"""How many clips a second the data workers make: decoding, cutting and degrading, without any training.

    python -m benchmarks.speed.data_rate [--videos FOLDER] [--clips 48] [--workers 1 2] [--write docs/training.md]

Without ``--videos`` a made clip stands in. A clip is 12 frames of 320x320, as recipes/star-small.toml wants them; the
cache of decoded frames is filled before the clock starts, as it is in all but the first pass of a training run. The
rates are those of the stream's own workers, read by one process that only throws the clips away; the clock starts when
what they make ahead has been taken. A step of a recipe wants ``batch / crops_per_clip`` clips.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.marked import replace_marked
from starvsr.data.clips import DegradedClips
from starvsr.data.pool import SampleStream
from starvsr.data.synthetic import SharpSource
from starvsr.video.codec_pass import write_lossless

AHEAD = 8
"""Clips that each worker makes ahead; so many are taken before the clock starts."""

BEGIN, END = "<!-- data-rate:begin -->", "<!-- data-rate:end -->"


@dataclass(frozen=True)
class Rate:
    """What one count of workers made.

    Args:
        workers: Processes that made clips.
        clips: How many, in all.
        seconds: Wall clock.
        cpu_seconds: What their processes computed meanwhile: unlike the wall clock, not for others on the machine.
        load: Programs that wanted a core when the clock started, per core.
    """

    workers: int
    clips: int
    seconds: float
    cpu_seconds: float
    load: float

    @property
    def per_second(self) -> float:
        """Clips a second."""
        return self.clips / self.seconds


def make_video(folder: Path, num_frames: int = 24, side: int = 400) -> None:
    """Write a clip of squares and noise that drift."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (side // 8 + 4, side // 8 + 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.stack([picture[k : k + side, k : k + side] for k in range(num_frames)])
    write_lossless(folder / "made.mkv", frames)


def measure(source: SharpSource, preset: str, workers: int, clips: int, *, clip_frames: int, gt_size: int) -> Rate:
    """Time a stream's workers: one crop of every clip, so that each sample asks for a new clip."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    degraded = DegradedClips(source, preset, clip_frames=clip_frames, gt_size=gt_size, seed=workers)
    stream = SampleStream(degraded, num_frames=1, lq_crop=8, pool_size=1, crops_per_clip=1, workers=workers)
    samples = iter(stream)
    for _ in islice(samples, max(1, AHEAD * workers)):
        pass
    began, computed = time.perf_counter(), _cpu_seconds()
    for _ in islice(samples, clips):
        pass
    return Rate(workers, clips, time.perf_counter() - began, _cpu_seconds() - computed, load)


def _cpu_seconds() -> float:
    """Return what this process and its workers have computed so far."""
    me = psutil.Process()
    times = [process.cpu_times() for process in me.children(recursive=True)]
    return time.process_time() + sum(each.user + each.system for each in times)


def table(rates: Sequence[Rate], preset: str, clip_frames: int, gt_size: int) -> str:
    """Lay the rates out in Markdown."""
    lines = [
        f'Clips of {clip_frames} frames of {gt_size}x{gt_size}, preset "{preset}", {os.cpu_count()} cores '
        f"(`python -m benchmarks.speed.data_rate`):",
        "",
        "| workers | clips/s | clips per second of computing | programs per core that wanted to run |",
        "|---|---|---|---|",
    ]
    for rate in rates:
        # other processes are counted in ticks of a hundredth of a second: a short run may show none
        computed = f"{rate.clips / rate.cpu_seconds:.2f}" if rate.cpu_seconds > 0 else "too short to tell"
        lines.append(f"| {rate.workers} | {rate.per_second:.2f} | {computed} | {rate.load:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="How many clips a second the data workers make.")
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--preset", default="mixed")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--clip-frames", type=int, default=12)
    parser.add_argument("--gt-size", type=int, default=320)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos
        if videos is None:
            videos = Path(folder) / "videos"
            videos.mkdir()
            make_video(videos, max(24, options.clip_frames), max(400, options.gt_size + 80))
        source = SharpSource(videos, None, Path(folder) / "cache")
        source.prepare()
        sizes = {"clip_frames": options.clip_frames, "gt_size": options.gt_size}
        rates = [measure(source, options.preset, count, options.clips, **sizes) for count in options.workers]
    text = table(rates, options.preset, **sizes)
    print(text)
    if options.write:
        replace_marked(options.write, BEGIN, END, text)


if __name__ == "__main__":
    main()
