"""Time star-small or causal-sr against realesr-animevideov3-x4 in one run, and watch the memory of the command line.

    python -m benchmarks.speed.speed_small --ncnn-model DIR [--model causal-sr] [--weights FILE] [--rounds 3]
            [--long 3000] [--out results/speed]

1. 426x240 to 1704x960 on 2 threads: clips go alternately through both (A B A B ...), so that a busy machine hurts
   both alike; medians of seconds a frame and their ratio. uint8 frames in, uint8 frames out, in memory. Each method
   lives in a process of its own: two sets of OpenMP threads in one process wait for work at each other's cost.
2. `starvsr upscale` of a 426x240 clip as a process: seconds a frame with reading and encoding, peak memory.
3. With --long N: a clip of N small frames through the command line; memory must stay flat.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.methods import AnimeVideo, ByteArray, Causal, Method, StarSmall
from benchmarks.reliability.processes import STARVSR, WatchedRun, watch
from starvsr.errors import OptionError, StarVsrError
from starvsr.video.codec_pass import write_lossless

_method: Method  # of a worker process
WIDTH, HEIGHT = 426, 240
LONG_WIDTH, LONG_HEIGHT = 128, 72


def main(arguments: list[str] | None = None) -> None:
    """Run the three parts and print what they measured."""
    options = _parser().parse_args(arguments)
    if options.model == "causal-sr" and options.weights is None:
        raise OptionError("causal-sr needs --weights: a file of `starvsr export`; random ones take as long")
    torch.set_num_threads(options.threads)
    told: dict[str, Any] = {"load_average_before": os.getloadavg(), "threads": options.threads}
    if options.ncnn_model:
        told["per_frame"] = compare_speed(options)
    with tempfile.TemporaryDirectory(prefix="starvsr-speed-") as folder:
        command = time_command(options, Path(folder), (WIDTH, HEIGHT), options.command_frames)
        told["command"] = command
        if options.ncnn_model:
            told["command_ratio"] = (
                command["seconds"] / command["frames"] / told["per_frame"]["medians"]["animevideov3"]
            )
            print(f"  that is {told['command_ratio']:.2f} x the time of animevideov3 in memory")
        if options.long:
            told["long"] = time_command(options, Path(folder), (LONG_WIDTH, LONG_HEIGHT), options.long)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.json").write_text(json.dumps(told, indent=1) + "\n")
    print(f"Written to {options.out / 'speed.json'}")


def compare_speed(options: argparse.Namespace) -> dict[str, object]:
    """Time both methods alternately on the same frames."""
    makers: dict[str, Callable[[], Method]] = {
        options.model: partial(Causal, options.weights, "auto")
        if options.model == "causal-sr"
        else partial(StarSmall, options.weights),
        "animevideov3": partial(AnimeVideo, options.ncnn_model, options.threads),
    }
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), _start, (maker, options.threads)))
            for name, maker in makers.items()
        }
        for i in range(-1, options.rounds):  # the first round warms up
            clip = moving_clip(options.frames, WIDTH, HEIGHT, first=i + 1)
            for name, worker in workers.items():
                taken = worker.submit(_time, clip).result() / len(clip)
                if i >= 0:
                    seconds[name].append(taken)
                time.sleep(0.5)  # idle OpenMP threads spin for a while
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians[options.model] / medians["animevideov3"]
    print(f"{WIDTH}x{HEIGHT} x4, {options.threads} threads, {options.rounds} rounds of {options.frames} frames:")
    for name, values in seconds.items():
        print(f"  {name:13s} median {medians[name]:.3f} s/frame  (all: {', '.join(f'{v:.3f}' for v in values)})")
    print(f"  {options.model} takes {ratio:.2f} x the time of animevideov3 (load average {os.getloadavg()[0]:.1f})")
    return {"seconds_per_frame": seconds, "medians": medians, "ratio": ratio}


def _start(maker: Callable[[], Method], threads: int) -> None:
    global _method
    torch.set_num_threads(threads)
    _method = maker()


def _time(clip: ByteArray) -> float:
    start = time.perf_counter()
    _method(clip)
    return time.perf_counter() - start


def time_command(options: argparse.Namespace, folder: Path, size: tuple[int, int], num_frames: int) -> dict[str, Any]:
    """Run the command line on a made clip and report time and memory."""
    source, output = folder / f"source_{num_frames}.mkv", folder / f"result_{num_frames}.mp4"
    write_lossless(source, moving_clip(num_frames, *size))
    command = [*STARVSR, "upscale", str(source), "-o", str(output), "--model", options.model]
    if options.weights:
        command += ["--weights", str(options.weights)]
    run = watch(command, interval_s=0.2, env=os.environ | {"OMP_NUM_THREADS": str(options.threads)})
    if run.returncode != 0:
        raise StarVsrError(f"the command failed on {source.name}: {run.last_line}")
    print(f"starvsr upscale, {size[0]}x{size[1]}, {num_frames} frames: {run.seconds / num_frames:.3f} s/frame with")
    print(f"  start, reading and encoding; peak memory {run.peak_bytes / 1e6:.0f} MB; {_curve_text(run)}")
    return {
        "size": size,
        "frames": num_frames,
        "seconds": run.seconds,
        "peak_bytes": run.peak_bytes,
        "growth_bytes": run.growth_bytes(),
        "curve": run.curve[:: max(1, len(run.curve) // 200)],
    }


def moving_clip(num_frames: int, width: int, height: int, first: int = 0) -> ByteArray:
    """Make a clip of smooth textures sliding over each other, uint8 [T, H, W, 3]; no cuts."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for t in range(num_frames):
        s = first + t
        wave = np.sin((x + 2 * s) / 9) * np.cos((y - s) / 7) + 0.5 * np.sin((x + y + 3 * s) / 3)
        for c in range(3):
            frames[t, ..., c] = 128 + 60 * wave + 20 * np.sin((x * (c + 1) - s) / 40)
    return frames


def _curve_text(run: WatchedRun) -> str:
    points = [run.curve[int(f * (len(run.curve) - 1))][1] / 1e6 for f in (0.25, 0.5, 0.75, 1.0)]
    levels = " ".join(f"{p:.0f}" for p in points)
    return f"at 25, 50, 75, 100 % of the time {levels} MB, growth {run.growth_bytes() / 1e6:+.1f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ncnn-model", type=Path, help="folder with realesr-animevideov3-x4.param and .bin")
    parser.add_argument("--model", choices=["star-small", "causal-sr"], default="star-small")
    parser.add_argument("--weights", type=Path, help="its weights (star-small: as shipped unless given)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=8, help="frames of each clip of the comparison")
    parser.add_argument("--command-frames", type=int, default=48, help="frames for the command line at 426x240")
    parser.add_argument("--long", type=int, default=0, help="frames of the long clip (3000 for the full check)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    return parser


if __name__ == "__main__":
    try:
        main()
    except StarVsrError as error:
        sys.exit(f"error: {error}")
