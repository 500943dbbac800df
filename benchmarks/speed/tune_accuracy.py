"""How close the times that `starvsr tune` tells come to those of whole jobs.

    python -m benchmarks.speed.tune_accuracy CLIP... [--model star-small] [--scale 4] [--seconds 2]

For each clip: the estimate, then the whole job in a process of its own, timed from its start to its end, less the time
that an empty run of the command takes (`starvsr --version`). Meaningful on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from starvsr.apps.tuning.run import candidates, choose_part, tune


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--model", default="star-small")
    parser.add_argument("--scale", default="4")
    parser.add_argument("--seconds", type=Fraction, default=Fraction(2))
    arguments = parser.parse_args()
    (options,) = candidates([arguments.model], [], [], {"scale": arguments.scale})
    print(f"{'clip':<24} {'frames':>7} {'told, s':>9} {'took, s':>9} {'off, %':>7}")
    with tempfile.TemporaryDirectory() as name:
        for clip in arguments.clips:
            part = choose_part(clip, arguments.seconds, None)
            (outcome,) = tune(clip, part, [options], Path(name), lambda _: None)
            if outcome.seconds is None:
                print(f"{clip.name:<24} {outcome.error or 'its frames are not known'}")
                continue
            command = ["upscale", str(clip), "-o", str(Path(name, "whole.mkv")), "-q", "-y", *options.as_flags()]
            took = _seconds(command) - _seconds(["--version"])
            off = 100 * (outcome.seconds / took - 1)
            print(f"{clip.name:<24} {part.num_frames:>7} {outcome.seconds:>9.1f} {took:>9.1f} {off:>+7.1f}", flush=True)


def _seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "starvsr", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
