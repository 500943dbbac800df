"""What decoding in a process of its own costs.

    python -m benchmarks.reliability.isolation [--width 1920] [--height 1080] [--frames 150] [--rounds 5]

Reads a generated H.264 clip in turns with and without the process, and prints the time to the first frame and the time
for all frames of both, and their ratio. The fastest of the rounds counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from starvsr.video.untrusted.isolation.parent import IsolatedReader


def make_clip(path: Path, width: int, height: int, count: int) -> None:
    """Encode a smooth picture that moves, with grain."""
    chance = np.random.default_rng(0)
    grain = chance.integers(0, 24, (height + 64, width + 64, 3), np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 200 // width, y * 200 // height, (x + y) * 200 // (width + height)], -1).astype(np.uint8)
    options = EncodeOptions(codec="h264", crf=18, preset="ultrafast")
    with VideoWriter(
        path,
        source=None,
        width=width,
        height=height,
        options=options,
        time_base=Fraction(1, 25),
        frame_rate=Fraction(25),
        bit_depth=8,
    ) as writer:
        for number in range(count):
            shift = number % 64
            writer.write(smooth + grain[shift : shift + height, shift : shift + width], number, 1)


def timed(open_reader: Callable[[], VideoReader]) -> tuple[float, float]:
    """Return the seconds until the first frame and for all frames behind it."""
    began = time.perf_counter()
    with open_reader() as reader:
        frames = iter(reader)
        next(frames)
        first = time.perf_counter()
        for frame in frames:
            frame.pixels[0, 0, 0]
    return first - began, time.perf_counter() - first


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        make_clip(path, words.width, words.height, words.frames)
        info = probe(path)
        rounds = [
            (timed(lambda: VideoReader(path, info=info)), timed(lambda: IsolatedReader(info)))
            for _ in range(words.rounds)
        ]
    plain, isolated = (tuple(min(times) for times in zip(*way, strict=True)) for way in zip(*rounds, strict=True))
    per_frame = [1000 * way[1] / (words.frames - 1) for way in (plain, isolated)]
    print(f"{words.width}x{words.height}, {words.frames} frames, best of {words.rounds}")
    print(f"first frame: {plain[0]:.3f} s without, {isolated[0]:.3f} s with a process of its own")
    ratio = per_frame[1] / per_frame[0]
    print(f"each frame:  {per_frame[0]:.2f} ms without, {per_frame[1]:.2f} ms with, ratio {ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
