"""What `--detail` and `--sharpen` cost beside the model and the finishing of a frame.

    python -m benchmarks.speed.detail [--size 426x240] [--model star-small] [--frames 4] [--rounds 3]

Prints processor time for each frame, the least of the rounds: the model, finishing plainly, with the blend, and with
sharpening.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from starvsr.engine.render import Finish
from starvsr.engine.segments import Segment
from starvsr.families.job_settings import plain_settings
from starvsr.families.loading import load_upscaler
from starvsr.quantities import parse_box


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_box, default=(426, 240), metavar="WxH")
    parser.add_argument("--model", default="star-small")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width, height = arguments.size
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    lq = rng.integers(0, 256, (height, width, 3), np.uint8)
    codes = rng.integers(0, 65536, (4 * height, 4 * width, 3), np.uint16)
    seconds = {
        "model": _model(arguments.model, arguments.frames, height, width, arguments.rounds) / arguments.frames,
        "finish": _least(lambda: Finish(4 * width, 4 * height)(codes, lq), arguments.rounds),
        "finish with detail": _least(lambda: Finish(4 * width, 4 * height, detail=0.5)(codes, lq), arguments.rounds),
        "finish with sharpen": _least(lambda: Finish(4 * width, 4 * height, sharpen=1)(codes, lq), arguments.rounds),
    }
    for name, value in seconds.items():
        print(f"{name:<20} {1e3 * value:8.1f} ms a frame")
    for name in ("detail", "sharpen"):
        added = seconds[f"finish with {name}"] - seconds["finish"]
        print(f"{f'added by {name}':<20} {100 * added / (seconds['model'] + seconds['finish']):8.1f} %")


def _model(name: str, num_frames: int, height: int, width: int, rounds: int) -> float:
    upscaler = load_upscaler(name, device="cpu")
    lq = torch.rand(1, 3, num_frames, height, width) * 2 - 1
    whole = Segment(0, 0, num_frames, 0, num_frames)
    with torch.inference_mode(), upscaler.open(plain_settings(upscaler)) as session:

        def once() -> None:
            for _ in session.upscale(lq, slice(0, num_frames), segment=whole, first_frame=0):
                pass

        return _least(once, rounds)


def _least(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
