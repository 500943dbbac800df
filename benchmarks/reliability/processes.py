"""Run a command and watch its memory from outside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

STARVSR = (sys.executable, "-c", "import sys; from starvsr.apps.cli import main; sys.exit(main())")
"""The command line of the package in this interpreter, to be followed by its arguments."""


@dataclass(frozen=True)
class WatchedRun:
    """What a command did: exit status, seconds, peak memory, memory over time, last output.

    Attributes:
        returncode: exit status.
        seconds: wall time.
        peak_bytes: largest resident memory of the command and its children seen in any sample.
        curve: (seconds since the start, resident bytes) of each sample.
        output: stdout and stderr together.
    """

    returncode: int
    seconds: float
    peak_bytes: int
    curve: list[tuple[float, int]]
    output: str

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def growth_bytes(self) -> float:
        """Difference of the mean memory of the last and the second quarter of the run: about 0 when memory is flat."""
        values = [value for _, value in self.curve]
        quarter = len(values) // 4
        if quarter == 0:
            return 0.0
        return sum(values[-quarter:]) / quarter - sum(values[quarter : 2 * quarter]) / quarter


def watch(command: Sequence[str], *, interval_s: float = 0.1, env: dict[str, str] | None = None) -> WatchedRun:
    """Run a command to its end, sampling the resident memory of its whole process tree."""
    start = time.perf_counter()
    curve: list[tuple[float, int]] = []
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        try:
            while process.poll() is None:
                curve.append((time.perf_counter() - start, _resident(process.pid)))
                time.sleep(interval_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read().decode(errors="replace")
    return WatchedRun(process.returncode, seconds, max((value for _, value in curve), default=0), curve, text)


def _resident(pid: int) -> int:
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:  # it ended meanwhile
        pass
    return total
