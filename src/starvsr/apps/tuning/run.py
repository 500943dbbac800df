"""Which trials are made, and what comes of them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.apps.tuning.estimate import Run, Timing
from starvsr.errors import InputError, OptionError
from starvsr.families.options import UpscaleOptions, options_from
from starvsr.families.registry import get_entry

_LEAST_FRAMES = 8


@dataclass(frozen=True)
class Part:
    """The part of a clip that is tried.

    Attributes:
        start: Seconds.
        seconds: Its length.
        num_frames: Frames of the whole clip, or None.
    """

    start: Fraction
    seconds: Fraction
    num_frames: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        options: That were tried.
        command: Words of the command that does the whole clip so.
        error: Why there is no more; None where there is.
        timing: What was measured.
        work: The same in seconds of processor time, which other programs on the machine hardly change.
        peak_memory: Bytes of the process and, where there is one, of the device.
        seconds: Estimated for the whole clip; None where its frames are not known.
        size: Width and height of the result.
        plan: Segments and tiles, in words.
        result: The upscaled part.
    """

    options: UpscaleOptions
    command: str
    error: str | None = None
    timing: Timing | None = None
    work: Timing | None = None
    peak_memory: dict[str, int] | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None
    plan: str = ""
    result: Path | None = None

    @property
    def name(self) -> str:
        """What is written on its row and its column."""
        words = {name: value for name, value in self.options.changed().items() if name not in _SHARED}
        others = [f"{name} {value}" for name, value in words.items() if name != "model"]
        return ", ".join([self.options.model, *others])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        told: dict[str, Any] = {"name": self.name, "command": self.command, "error": self.error}
        told["options"] = {name: str(value) for name, value in self.options.changed().items()}
        if self.timing is not None and self.work is not None:
            told |= {
                "seconds_per_frame": self.timing.seconds_per_frame,
                "fixed_seconds": self.timing.fixed_seconds,
                "load_seconds": self.timing.load_seconds,
                "estimated_seconds": self.seconds,
                "processor_seconds_per_frame": self.work.seconds_per_frame,
                "peak_memory": self.peak_memory,
                "size": self.size,
                "plan": self.plan,
                "warm_up_seconds": self.timing.warm_up_seconds,
                "computed_frames": self.timing.num_computed,
                "runs": [asdict(run) for run in (self.timing.cold, self.timing.few, self.timing.many)],
            }
        return told


_SHARED = frozenset({"scale", "height", "width", "fit"})


def choose_part(path: Path, seconds: Fraction, start: Fraction | None) -> Part:
    """Choose what is tried: the middle of a clip where no start is named.

    Raises:
        InputError: It cannot be read, or is no video.
    """
    from starvsr.video import probe

    info = probe(path)
    if info.kind == "image":
        raise InputError(f"{path} is one image: try it with `starvsr upscale --dry-run`, which tells time and memory")
    least = _LEAST_FRAMES / info.frame_rate
    length = info.duration
    seconds = max(seconds, least)
    if length is not None:
        seconds = min(seconds, length)
        if start is None:
            start = max(Fraction(0), (length - seconds) / 2).limit_denominator(1000)
    return Part(start or Fraction(0), seconds, info.estimated_frames)


def candidates(
    models: Sequence[str], devices: Sequence[str], tries: Sequence[str], shared: dict[str, Any]
) -> list[UpscaleOptions]:
    """Return what is tried: each model on each device, then what was asked for besides.

    Args:
        models: Names of models.
        devices: Names of devices; none: the best one of this machine.
        tries: Options as "model=star-light,steps=8".
        shared: Options of all, as the size.

    Raises:
        OptionError: A try is no list of options, or there is no such model.
    """
    found = [{"model": model, **device} for device in ([{"device": d} for d in devices] or [{}]) for model in models]
    for text in tries:
        words = [word.partition("=") for word in text.split(",")]
        if not all(name.strip() and sign for name, sign, _ in words):
            raise OptionError(f"--try {text}: give options as model=NAME,steps=8")
        given: dict[str, Any] = {name.strip().replace("-", "_"): _typed(value) for name, _, value in words}
        found.append(given)
    tried = [options_from({**shared, **values}) for values in found]
    for options in tried:
        get_entry(options.model)
    return tried


def _typed(value: str) -> Any:
    return {"true": True, "false": False}.get(value.strip(), value.strip())


def try_one(source: Path, part: Part, options: UpscaleOptions, out: Path) -> Outcome:
    """Make a trial in a process of its own."""
    changed = {name: v if isinstance(v, (int, float, str)) else str(v) for name, v in options.changed().items()}
    command = shlex.join(["starvsr", "upscale", str(source), *options.as_flags()])
    order = {
        "source": str(source),
        "out": str(out),
        "options": changed,
        "start": str(part.start),
        "seconds": str(part.seconds),
    }
    worked = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "starvsr.apps.tuning.trial"],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
        check=False,
    )
    ended = time.time(), os.times()
    if done.returncode != 0 or not done.stdout:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        return Outcome(options, command, error=f"the process ended ({how}): is there enough memory?")
    found = json.loads(done.stdout)
    if "error" in found:
        return Outcome(options, command, error=found["error"])
    last = found["ending"]
    work_of_ending = sum(ended[1][2:4]) - sum(worked[2:4]) - last[1]
    endings = ended[0] - last[0], work_of_ending
    timing, work = (_timing(found, clock, max(0.0, endings[clock])) for clock in (0, 1))
    return Outcome(
        options,
        command,
        timing=timing,
        work=work,
        peak_memory=found["peak_memory"],
        seconds=timing.whole,
        size=(found["width"], found["height"]),
        plan=found["plan"],
        result=out,
    )


def _timing(found: dict[str, Any], clock: int, ending: float) -> Timing:
    """Return what a trial measured, by the clock on the wall (0) or in processor time (1)."""
    cold, few, many = (Run(found[name][0], found[name][1], found[name][2 + clock]) for name in ("cold", "few", "many"))
    return Timing(found["load"][clock] + ending, cold, few, many, found["num_computed"])


def tune(
    source: Path, part: Part, tried: Sequence[UpscaleOptions], folder: Path, on_begin: Callable[[UpscaleOptions], None]
) -> list[Outcome]:
    """Make trials one after the other, each undisturbed by the others.

    Args:
        source: The clip.
        part: What of it is tried.
        tried: Options.
        folder: Results go there, as ``0.mkv``, ``1.mkv``, ...
        on_begin: Called before each.
    """
    outcomes = []
    for number, options in enumerate(tried):
        on_begin(options)
        outcomes.append(try_one(source, part, options, folder / f"{number}.mkv"))
    return outcomes


def write_sheet(source: Path, part: Part, outcomes: Sequence[Outcome], path: Path) -> bool:
    """Draw the first frame of all results beside each other; False where there are none."""
    from starvsr.jobs.comparison import contact_sheet
    from starvsr.video import VideoReader
    from starvsr.video.pixels import to_8_bits

    results = {}
    for outcome in outcomes:
        if outcome.result is not None:
            with VideoReader(outcome.result) as reader:
                results[outcome.name] = to_8_bits(next(iter(reader)).pixels[:, :, :3])
    if not results:
        return False
    with VideoReader(source, start=part.start) as reader:
        before = to_8_bits(next(iter(reader)).pixels[:, :, :3])
    contact_sheet(before, results).save(path)
    return True
