"""Progress of a job for people: a bar on a terminal, a line now and then elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starvsr.apps.cli.standard_streams import is_terminal, tell
from starvsr.engine.progress import Progress, ProgressCallback
from starvsr.quantities import format_size, format_time

LINE_EVERY = 10.0  # seconds between lines where there is no terminal
BAR_EVERY = 0.1
STAGES = {
    "probing": "reading it once, for its length and the steps of its clock",
    "captioning": "asking the command of --caption what it shows",
    "checking": "checking the other streams",
    "planning": "finding scene cuts",
    "joining": "joining the parts",
    "comparing": "writing the comparison",
}


@contextmanager
def progress_display(name: str, *, quiet: bool = False) -> Iterator[ProgressCallback | None]:
    """Show the progress of one job inside the block."""
    if quiet:
        yield None
    elif is_terminal(sys.stderr):
        with _bar(name) as show:
            yield show
    else:
        yield PlainLines(name)


@contextmanager
def probing_told(on_progress: ProgressCallback | None) -> Iterator[None]:
    """Tell where it takes long to find out what an input is: transport streams and raw streams are read once."""
    from starvsr.video.read.clock import survey_told

    if on_progress is None:
        yield
        return
    with survey_told(lambda: on_progress(Progress("probing", 0, None, 0.0, 0.0, 0))):
        yield


def captioning_told(on_progress: ProgressCallback | None) -> Callable[[], None] | None:
    """Return what tells that the command of a caption is asked; None where nothing is told."""
    if on_progress is None:
        return None
    return lambda: on_progress(Progress("captioning", 0, None, 0.0, 0.0, 0))


def describe(report: Progress) -> str:
    """Put a report into words: frames, speed, time left, memory."""
    total = f"/{report.num_frames}" if report.num_frames is not None else ""
    parts = [f"{report.num_done}{total} frames", speed(report)]
    if report.seconds_left is not None and report.num_done:
        parts.append(f"{format_time(report.seconds_left)} left")
    parts.append(f"peak {format_size(report.peak_memory)}")
    return ", ".join(part for part in parts if part)


def speed(report: Progress) -> str:
    """Say the speed: frames per second, or seconds per frame where that is more than one."""
    rate = report.frames_per_second
    if rate <= 0:
        return ""
    return f"{rate:.1f} frames/s" if rate >= 1 else f"{1 / rate:.1f} s/frame"


class PlainLines:
    """Writes a line when work begins and every few seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: float | None = None
        self._stage = ""

    def __call__(self, report: Progress) -> None:
        """Take a report."""
        now = time.monotonic()
        if report.stage == "done" or (report.stage == "probing" and report.stage == self._stage):
            return
        if report.stage != self._stage and report.stage in STAGES:
            tell(f"{self._name}: {STAGES[report.stage]}")
        elif self._last is None or now - self._last >= LINE_EVERY:
            tell(f"{self._name}: {describe(report)}")
            self._last = now
        self._stage = report.stage


@contextmanager
def _bar(name: str) -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Bar(*columns, console=console, expand=True, transient=True) as bar:
        task = bar.add_task("", total=None, name=_short(name), words="loading the model")
        last = 0.0

        def show(report: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < BAR_EVERY and report.stage == "upscaling":
                return
            last = now
            words = STAGES.get(report.stage) or describe(report)
            if report.stage in ("probing", "captioning"):
                bar.update(task, words=words)
                return
            done = report.num_done + report.fraction if report.stage != "planning" else report.num_planned
            bar.update(task, total=report.num_frames, completed=done, words=words)

        yield show


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest - 9]}...{name[-6:]}"
