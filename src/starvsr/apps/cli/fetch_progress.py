"""Progress of a download for people: a bar on a terminal, a line now and then elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starvsr.apps.cli.standard_streams import is_terminal, tell

if TYPE_CHECKING:
    from starvsr.models.weights.progress import FetchCallback, FetchProgress

LINE_EVERY = 10.0  # seconds between lines where there is no terminal


@contextmanager
def fetch_display(name: str, *, quiet: bool = False) -> Iterator[FetchCallback | None]:
    """Show the progress of one download inside the block."""
    if quiet:
        yield None
    elif is_terminal(sys.stderr):
        with _bar(name) as show:
            yield show
    else:
        yield FetchLines(name)


class FetchLines:
    """Writes a line when a file begins and every few seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = 0.0
        self._doing = ("", "")

    def __call__(self, report: FetchProgress) -> None:
        """Take a report."""
        now, doing = time.monotonic(), (report.path, report.stage)
        if doing == self._doing and now - self._last < LINE_EVERY:
            return
        self._last, self._doing = now, doing
        of = f" of {report.num_bytes / 1e6:.0f}" if report.num_bytes is not None else ""
        tell(f"{self._name}: {report.stage} {report.path}, {report.num_done / 1e6:.0f}{of} MB")


@contextmanager
def _bar(name: str) -> Iterator[FetchCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.fields[words]}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True, transient=True) as bar:
        tasks: dict[tuple[str, str], object] = {}

        def show(report: FetchProgress) -> None:
            key = (report.path, report.stage)
            if key not in tasks:
                for task in bar.task_ids:
                    bar.remove_task(task)
                words = f"{name}: {report.stage} {report.path.rpartition('/')[2]}"
                tasks[key] = bar.add_task("", total=report.num_bytes, words=words)
            bar.update(bar.task_ids[-1], completed=report.num_done)

        yield show
