"""One trial, in a process of its own, so that its memory is its own and running out of it ends nothing else.

    python -m starvsr.apps.tuning.trial    (reads a JSON object on standard input, writes one on standard output)

The same part is upscaled three times: shortly, at length, and shortly again. The difference of the last two is the time
of the frames that one computes and the other does not, that of the two short ones is what the first run of a program
takes besides. Both lengths are whole segments of the model's plan where the clip is long enough.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil

from starvsr.errors import StarVsrError

_FEW = 4  # the short runs of clips of less than two segments are this many times shorter


@dataclass(frozen=True)
class Lengths:
    """How many seconds are upscaled, shortly and at length."""

    few: Fraction
    many: Fraction


def choose_lengths(start: Fraction, seconds: Fraction, whole: Fraction | None, rate: Fraction, segment: int) -> Lengths:
    """Choose one segment, and as many as fit the seconds that were asked for, but two at least where there are as many.

    Args:
        start: Where the part begins, in seconds.
        seconds: How long it was to be.
        whole: Seconds of the clip, where they are known.
        rate: Frames per second.
        segment: Frames of a segment.
    """
    count = max(2, int(seconds * rate) // segment)
    if whole is not None:
        count = min(count, int((whole - start) * rate) // segment)
    if count < 2:
        return Lengths(seconds / _FEW, seconds)
    return Lengths(segment / rate, count * segment / rate)


def run_trial(order: dict[str, Any]) -> dict[str, Any]:
    """Do a trial.

    Args:
        order: ``source``, ``out`` (file of the result), ``options``, ``start`` and ``seconds`` as text.

    Returns:
        Seconds by the clock and of processor time, frames, memory, size and plan.

    Raises:
        StarVsrError: The options cannot be honoured, or the clip cannot be read.
    """
    from starvsr.api import prepare
    from starvsr.families.loading import load_for
    from starvsr.families.options import options_from
    from starvsr.jobs.counting import count_computed
    from starvsr.jobs.executors import first_device
    from starvsr.jobs.prompts.request import Prompts

    source, out = Path(order["source"]), Path(order["out"])
    start, seconds = Fraction(order["start"]), Fraction(order["seconds"])
    options = options_from({**order["options"], "start": start, "overwrite": True})
    upscaler = load_for(options, device=first_device(options) if options.devices else None)
    load = (time.time() - psutil.Process().create_time(), _work())  # since the program was started
    planned = prepare(source, out, options, upscaler=upscaler, duration=seconds)
    info = planned.info
    chosen = choose_lengths(start, seconds, info.duration, info.frame_rate, planned.plan.length)
    runs = []
    for length in (chosen.few, chosen.many, chosen.few):
        target = out if length == chosen.many else out.with_name(f"short{out.suffix}")
        clock = _Clock()
        job = prepare(source, target, options, upscaler=upscaler, duration=length)
        clock.halt()
        num_computed = count_computed(job)
        clock.go_on()
        num_frames = job.run().num_frames
        clock.halt()
        runs.append((num_frames, num_computed, *clock.seconds))
        if target != out:
            target.unlink()
    whole = prepare(source, out, options, upscaler=upscaler, start=None, prompts=Prompts(may_ask=False))
    return {
        "load": load,
        "cold": runs[0],
        "few": runs[2],
        "many": runs[1],
        "num_computed": count_computed(whole),
        "peak_memory": _peak_memory(job.device),
        "width": job.width,
        "height": job.height,
        "device": job.device,
        "plan": job.plan.describe(),
    }


class _Clock:
    """Counts seconds on the wall and of processor time, of this process and of those that it started and that ended."""

    def __init__(self) -> None:
        self.seconds = (0.0, 0.0)
        self.go_on()

    def go_on(self) -> None:
        """Count from now on."""
        self._began = time.perf_counter(), _work()

    def halt(self) -> None:
        """Count no more until `go_on`."""
        wall, work = self._began
        self.seconds = self.seconds[0] + time.perf_counter() - wall, self.seconds[1] + _work() - work


def _work() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory(device: str) -> dict[str, int]:
    """Return the largest memory in bytes, of the process and of the device."""
    from starvsr.engine.progress import peak_memory_bytes

    found = {"process": peak_memory_bytes()}
    if device.startswith("cuda"):
        import torch

        found["device"] = int(torch.cuda.max_memory_reserved(device))
    return found


def main() -> None:
    """Serve the process that started this one."""
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no reply
    try:
        found = run_trial(json.load(sys.stdin))
    except StarVsrError as error:
        found = {"error": " ".join(str(error).split())}
    except Exception as error:
        found = {"error": f"unexpected {type(error).__name__}: {error}; please report it"}
    else:
        found["ending"] = (time.time(), _work())
    json.dump(found, reply)
    reply.close()


if __name__ == "__main__":
    main()
