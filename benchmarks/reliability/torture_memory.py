"""Faults of memory: none left in the n-th segment, at the n-th allocation, or beyond a limit of the system."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.reliability.torture_bench import NUM_FRAMES, Bench, Forked, Row, raise_in, run
from starvsr.families import bicubic as baseline

_BURST = 50  # allocations in a row that fail, in every other trial
_PATIENCE = 20.0  # seconds
_PAGE = resource.getpagesize()


def run_out_of_memory(bench: Bench, times: int) -> Row:
    """Raise MemoryError in the n-th segment."""
    row = Row("out of memory in the n-th segment")
    for trial in range(times):
        out = bench.fresh()
        number = trial * (NUM_FRAMES // 4) // times
        result = run(bench.command(out), raise_in(baseline.BicubicUpscaler, "upscale_clip", number, MemoryError()))
        row.tried += 1
        if result.code != 1 or "out of memory" not in result.said:
            row.problems.append(f"exit code {result.code}: {result.said}")
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def fail_an_allocation(bench: Bench, times: int) -> Row:
    """Let Python's allocators fail at the n-th call, for once or for a while."""
    row = Row("out of memory at the n-th allocation of Python's")
    try:
        allocators: Any = import_module("_testcapi")
    except ImportError:  # some systems leave it out
        return row
    for trial in range(20 * times):
        if row.tried == times:
            break
        number = int(10 ** bench.random.uniform(2.5, 6))
        width = _BURST if trial % 2 else 1

        def prepare(number: int = number, width: int = width) -> None:
            allocators.set_nomemory(number, number + width)

        _hurt(bench, row, prepare)
    return row


def limit_the_memory(bench: Bench, times: int) -> Row:
    """Let the system refuse memory from so many megabytes on: to Python, FFmpeg, the encoders and threads alike."""
    row = Row("address space limited, in steps")
    for trial in range(10 * times):
        if row.tried == times:
            break
        limit = int(2 ** bench.random.uniform(18, 28 - trial // times))

        def prepare(limit: int = limit) -> None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
            resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))

        _hurt(bench, row, prepare)
    return row


def _hurt(bench: Bench, row: Row, prepare: Callable[[], Any]) -> None:
    """Run a job that may end anyhow but well with a wrong output, then the same command again."""
    out = bench.fresh()
    job = Forked(bench.command(out), prepare)
    result = job.wait(_PATIENCE)
    if result is None:  # Python waits for ever for a thread that got no memory to begin with
        job.send(signal.SIGKILL)
        result = job.wait()
        assert result is not None
    row.tried += result.code != 0
    row.ends[result.code] = row.ends.get(result.code, 0) + (result.code != 0)
    bench.inspect(row, out, 0)
    bench.settle(row, out)
