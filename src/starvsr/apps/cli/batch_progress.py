"""Progress of a batch for people: a bar on a terminal, a line now and then elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starvsr.apps.cli.progress import LINE_EVERY
from starvsr.apps.cli.standard_streams import is_terminal
from starvsr.apps.cli.terminal import printable, remark
from starvsr.quantities import format_time

if TYPE_CHECKING:
    from starvsr.apps.batch.driver import BatchProgress

Shown = tuple[Callable[["BatchProgress"], None], Callable[[str], None]]


def describe_batch(report: BatchProgress) -> str:
    """Put a report into words: clips, failures, speed, time left."""
    counts = report.counts
    parts = [f"{counts.done + counts.failed}/{counts.total} clips"]
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    parts.append(f"{report.num_at_work} at work" if report.seconds else "starting workers")
    if report.num_frames and report.seconds > 0:
        parts.append(f"{report.num_frames / report.seconds:.1f} frames/s")
    if report.seconds_left is not None and counts.waiting:
        parts.append(f"{format_time(report.seconds_left)} left")
    return ", ".join(parts)


@contextmanager
def batch_display(*, quiet: bool = False) -> Iterator[Shown]:
    """Show the progress of a batch inside the block, and what it tells; when quiet, failures alone."""
    if quiet:
        yield (lambda report: None), (lambda text: remark(text) if text.startswith("failed") else None)
    elif is_terminal(sys.stderr):
        with _bar() as shown:
            yield shown
    else:
        yield _Lines(), remark


class _Lines:
    """Writes a line every few seconds."""

    def __init__(self) -> None:
        self._last: float | None = None

    def __call__(self, report: BatchProgress) -> None:
        now = time.monotonic()
        if self._last is None or now - self._last >= LINE_EVERY or not report.counts.waiting:
            self._last = now
            remark(describe_batch(report))


@contextmanager
def _bar() -> Iterator[Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=None), TextColumn("{task.fields[words]}", markup=False))
    with Progress(*columns, console=console, expand=True, transient=True) as bar:
        task = bar.add_task("", total=None, words="looking at the batch")

        def show(report: BatchProgress) -> None:
            done = report.counts.done + report.counts.failed
            bar.update(task, total=report.counts.total, completed=done, words=describe_batch(report))

        yield show, lambda text: console.print(printable(text), markup=False, highlight=False)
