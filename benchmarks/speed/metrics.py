"""Frames per second of each metric, and the memory that a long clip takes.

    python -m benchmarks.speed.metrics [--size 1280 720] [--frames 6] [--threads 2] [--metrics ...] [--flow dis] \
        [--write PAGE.md]
    python -m benchmarks.speed.metrics --memory 3000 [--size 320 180] [--metrics psnr_y_db warping_error_x1e3 ...]

The clip is made here: photos that a library ships, panned, and blurred for the result. Each metric is measured alone,
with the optical flow that it needs; making the frames, loading of networks and the first frame are not counted. With
--memory all metrics run together over that many frames, and the growth of resident memory after the first tenth is
told.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from skimage import data

from benchmarks.reliability.torture import write_table
from starvsr.metrics.evaluate import measure
from starvsr.metrics.flow_choice import FLOW_NAMES, FlowName
from starvsr.metrics.metric import Metric
from starvsr.metrics.registry import METRICS, available

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
Frame = NDArray[np.uint8]


class Panned:
    """A photo under a moving window, as often as it is asked for; the result is blurred.

    Args:
        width: of the frames.
        height: of the frames.
        count: how many frames.
        sigma: of the blur, 0 for none.
    """

    def __init__(self, width: int, height: int, count: int, sigma: float = 0) -> None:
        self.count, self.size, self.sigma = count, (width, height), sigma
        self._photo = cv2.resize(data.astronaut(), (width + 128, height + 128), interpolation=cv2.INTER_CUBIC)

    def __iter__(self) -> Iterator[Frame]:
        width, height = self.size
        for index in range(self.count):
            left, top = index * 3 % 128, index % 128
            frame = np.ascontiguousarray(self._photo[top : top + height, left : left + width])
            yield cv2.GaussianBlur(frame, (0, 0), self.sigma) if self.sigma else frame


class Clocked:
    """Passes frames on and notes when the second one was asked for, from when on time counts."""

    def __init__(self, frames: Panned) -> None:
        self.frames, self.began, self.busy = list(frames), 0.0, 0.0

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self.frames):
            if index == 1:
                self.began, self.busy = time.perf_counter(), _processor_seconds()
            yield frame


def _processor_seconds() -> float:
    """Return what this process and the programs that it ran have used of processors."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def speed(metric: Metric, width: int, height: int, count: int, flow: FlowName = "dis") -> tuple[float, float]:
    """Measure a metric alone over a clip of so many frames, not counting the first one.

    Returns:
        Frames per second, and seconds of one processor for each frame: beside other programs only these can be trusted.
    """
    hq, gt, lq = Clocked(Panned(width, height, count, 1.5)), Panned(width, height, count), None
    if "lq" in metric.needs:
        lq = Clocked(Panned(width // 4, height // 4, count))
    measure(hq, gt, lq=lq, metrics=[metric], crop_px=0, flow=flow)
    busy = (_processor_seconds() - hq.busy) / (count - 1)
    return (count - 1) / (time.perf_counter() - hq.began), busy


def growth_mib(metrics: Sequence[Metric], width: int, height: int, count: int) -> tuple[float, float]:
    """Measure all metrics over many frames; return resident memory after a tenth of them and its growth since."""
    process, seen = psutil.Process(), list[int]()

    class Watched(Panned):
        def __iter__(self) -> Iterator[Frame]:
            for index, frame in enumerate(super().__iter__()):
                if index >= count // 10 and index % 10 == 0:
                    seen.append(process.memory_info().rss)
                yield frame

    measure(Watched(width, height, count, 1.5), Panned(width, height, count), metrics=metrics, crop_px=0)
    return seen[0] / 2**20, (max(seen[len(seen) // 2 :]) - seen[0]) / 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write it where it is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--metrics", nargs="*", default=[metric.name for metric in METRICS])
    parser.add_argument("--flow", choices=FLOW_NAMES, default="dis", help="that metrics rest on (default: dis)")
    parser.add_argument("--memory", type=int, metavar="FRAMES", help="measure memory over so many frames instead")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    width, height = options.size
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    chosen = available(options.metrics)
    for name, why in chosen.missing.items():
        print(f"{name} is missing: {why}", file=sys.stderr)
    if options.memory:
        usable = [metric for metric in chosen.usable if "lq" not in metric.needs]
        resident, growth = growth_mib(usable, width, height, options.memory)
        print(f"{options.memory} frames, {len(usable)} metrics: {resident:.0f} MiB, growth {growth:.1f} MiB")
        return 0
    lines = ["| metric | frames/s | processor seconds a frame |", "| --- | --- | --- |"]
    for metric in chosen.usable:
        rate, busy = speed(metric, width, height, options.frames, options.flow)
        lines.append(f"| {metric.name} | {rate:.2f} | {busy:.2f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    table = "\n".join(lines)
    print(table)
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
