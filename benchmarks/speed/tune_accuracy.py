"""How close the times that `starvsr tune` tells come to those of whole jobs.

    python -m benchmarks.speed.tune_accuracy CLIP... [--model star-small] [--scale 4] [--seconds 2] [--clock processor]

For each clip: the estimate, then the whole command in a process of its own, from its start to its end. ``--clock wall``
(default) is meaningful on a machine that does nothing else; ``processor`` counts the time that processors worked for
the command, in both, and so tells more on a busy machine, where each step takes longer as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import psutil

from starvsr.apps.tuning.run import candidates, choose_part, tune


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--model", default="star-small")
    parser.add_argument("--scale", default="4")
    parser.add_argument("--seconds", type=Fraction, default=Fraction(2))
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    arguments = parser.parse_args()
    (options,) = candidates([arguments.model], [], [], {"scale": arguments.scale})
    print(f"{'clip':<32} {'frames':>7} {'told, s':>9} {'took, s':>9} {'off, %':>7}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for clip in arguments.clips:
            part = choose_part(clip, arguments.seconds, None)
            (outcome,) = tune(clip, part, [options], Path(name), lambda _: None)
            timing = outcome.work if arguments.clock == "processor" else outcome.timing
            if timing is None or timing.whole is None:
                print(f"{clip.name:<32} {outcome.error or 'its frames are not known'}")
                continue
            command = ["upscale", str(clip), "-o", str(Path(name, "whole.mkv")), "-q", "-y", *options.as_flags()]
            took = _seconds(command, arguments.clock)
            off = 100 * (timing.whole / took - 1)
            print(f"{clip.name:<32} {part.num_frames:>7} {timing.whole:>9.1f} {took:>9.1f} {off:>+7.1f}", flush=True)


def _seconds(words: list[str], clock: str) -> float:
    began, worked = time.perf_counter(), _work_of_children()
    subprocess.run([sys.executable, "-m", "starvsr", *words], check=True, stdout=subprocess.DEVNULL)
    return _work_of_children() - worked if clock == "processor" else time.perf_counter() - began


def _work_of_children() -> float:
    """Processor time of all processes that were started here and have ended."""
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


if __name__ == "__main__":
    main()
