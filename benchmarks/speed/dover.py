"""What DOVER takes: each network once, and the drawing of views for each frame.

    python -m benchmarks.speed.dover [--size 1280 720] [--frames 40] [--threads 1] [--device cpu]

The time does not depend on the weights, so fresh ones are taken. A clip takes a technical view for each draw and run,
an aesthetic one for each draw, and the drawing for each of its frames.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from starvsr.metrics.dover.network import VIEWS, Dover
from starvsr.metrics.dover.scores import DRAWS, RUNS, ClipSampler


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=40, help="how many frames views are drawn from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    width, height = arguments.size
    frames = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), np.uint8)
    sampler = ClipSampler()
    began = time.process_time()
    for index in range(arguments.frames):
        sampler.take(frames[index % len(frames)])
    drawing = (time.process_time() - began) / arguments.frames
    network = Dover().to(arguments.device).eval().requires_grad_(False)
    seconds = {}
    for view in VIEWS:
        clip = torch.from_numpy(sampler.drawn(view)[0][0][None])
        began = time.process_time()
        with torch.inference_mode():
            float(network(clip, view)[0])
        seconds[view] = time.process_time() - began
    whole = DRAWS * (RUNS * seconds["technical"] + seconds["aesthetic"])
    print("processor seconds:")
    for view in VIEWS:
        print(f"  a {view} view  {seconds[view]:.2f}")
    print(f"  drawing, a frame of {width}x{height}  {drawing:.3f}")
    print(f"  a clip with {DRAWS} draws  {whole:.0f} + {drawing:.3f} for each frame")


if __name__ == "__main__":
    main()
