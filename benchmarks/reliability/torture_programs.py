"""Faults within the program and its process: threads, clocks, spoiled files, other processes, pipes, order of work."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.torture_bench import NUM_FRAMES, Bench, Forked, Row, finished, raise_in, run
from starvsr.families import bicubic as baseline
from starvsr.jobs import work
from starvsr.jobs.folder import job_path
from starvsr.jobs.joiner import Join
from starvsr.video import VideoReader
from starvsr.video.parts.part_writer import PictureEncoder


def crash_a_worker(bench: Bench, times: int) -> Row:
    """Raise an error that nobody foresaw in threads that compute, read, write and encode, or let the process die."""
    row = Row("crash of a worker (compute, read, write, encoder) or of the process in it")
    for trial in range(times):
        out = bench.fresh()
        place = (trial * 7919) % (NUM_FRAMES // 4)
        hurts = (
            _raise_in_segment(place, ValueError("crash")),
            _raise_in_reader(place * 4),
            _raise_in_writer(place * 4),
            raise_in(PictureEncoder, "encode", place * 4, ValueError("crash")),
            crash_in(PictureEncoder, "encode", place * 4),
        )
        result = run(bench.command(out), hurts[trial % len(hurts)])
        row.tried += 1
        if result.code not in (1, -signal.SIGSEGV):
            row.problems.append(f"exit code {result.code}: {result.said}")
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def _raise_in_segment(number: int, error: BaseException) -> Callable[[], None]:
    return raise_in(baseline.BicubicUpscaler, "upscale_clip", number, error)


def _raise_in_reader(number: int) -> Callable[[], None]:
    return raise_in(VideoReader, "_to_pixels", number, ValueError("crash"))


def _raise_in_writer(number: int) -> Callable[[], None]:
    return raise_in(work.PartWriter, "write", number, ValueError("crash"))


def crash_in(owner: Any, name: str, number: int) -> Callable[[], None]:
    """Give a preparation: the process dies, as of a wrong access to memory, in the n-th call of a function."""

    def prepare() -> None:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        function, count = getattr(owner, name), [0]

        def call(*arguments: Any, **details: Any) -> Any:
            count[0] += 1
            if count[0] > number:
                os.kill(os.getpid(), signal.SIGSEGV)
            return function(*arguments, **details)

        setattr(owner, name, call)

    return prepare


def turn_the_clock(bench: Bench, times: int) -> Row:
    """Let the clock jump by years in both directions, and kill the job."""
    row = Row("clock jumps, then SIGKILL")
    for trial in range(times):
        out = bench.fresh()

        def prepare(trial: int = trial) -> None:
            chance = random.Random(trial)
            time.time = lambda: chance.uniform(0, 4e9)
            time.time_ns = lambda: chance.randrange(4 * 10**18)

        job = Forked(bench.command(out), prepare)
        if job.wait(bench.moment()) is None:
            job.send(signal.SIGKILL)
            job.wait()
            row.tried += 1
            bench.inspect(row, out, 0)
            for file in job_path(out).glob("*"):
                os.utime(file, (trial, trial))
        bench.settle(row, out)
    return row


def spoil_files(bench: Bench, times: int) -> Row:
    """Kill a job and change one byte of its journal, one of its plans or a part, cut it off, or remove it."""
    row = Row("spoiled journal, plan or part")
    while row.tried < times:
        out = bench.fresh()
        job = Forked(bench.command(out))
        if job.wait(bench.random.uniform(0.4, 0.95) * bench.seconds) is None:
            job.send(signal.SIGKILL)
            job.wait()
            before = finished(out) if job_path(out).exists() else 0
            if before:
                _spoil(bench.random, job_path(out), row.tried)
                row.tried += 1
                _count_redone(bench, row, out, before)
        bench.settle(row, out)
    return row


def _spoil(chance: random.Random, folder: Path, trial: int) -> None:
    files = sorted(p for p in folder.iterdir() if p.name.startswith("part_") and p.suffix == "")
    file = (chance.choice(files), *(folder / name for name in ("journal", "plan.json", "parts.json")))[trial % 4]
    content = bytearray(file.read_bytes())
    how = (trial // 4) % 3
    if how == 0:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
    elif how == 1 or file.name == "journal":  # without its journal a job is one that has not begun
        file.write_bytes(content[: -chance.randrange(1, min(200, len(content)))])
    else:
        file.unlink()


def _count_redone(bench: Bench, row: Row, out: Path, before: int) -> None:
    """Let a run look over the spoiled job until it would make or join parts; count what it takes for unfinished."""
    making = raise_in(work.JobWork, "_make_parts", 0, KeyboardInterrupt())
    joining = raise_in(Join, "run", 0, KeyboardInterrupt())  # nothing is left to make: the kill came late

    def prepare() -> None:
        making()
        joining()

    with contextlib.suppress(AssertionError):
        run(bench.command(out), prepare)
        if job_path(out).exists():
            row.most_redone = max(row.most_redone, before - finished(out))
        elif not out.exists():  # an output was published before the kill, and every part of it kept
            row.most_redone = max(row.most_redone, before)


def fight_over_a_job(bench: Bench, times: int) -> Row:
    """Start a second process on a job that runs: it is refused, and disturbs nothing."""
    row = Row("two processes on one job")
    for _trial in range(times):
        out = bench.fresh()
        first = Forked(bench.command(out))
        result = None
        while result is None and not finished(out):
            result = first.wait(0.02)
        if result is None:
            second = run(bench.command(out))
            still_runs = first.wait(0) is None
            if still_runs and second.code == 1 and "already there" in second.said:  # the first had published its output
                first.wait()
                still_runs = False
            row.tried += still_runs
            if still_runs and (second.code != 1 or "another process" not in second.said):
                row.problems.append(f"exit code {second.code}: {second.said}")
            result = first.wait() if still_runs else None
            if still_runs and (result is None or result.code != 0):
                row.problems.append(f"the first one was disturbed: {result}")
        bench.judge(row, out)
    return row


def lose_the_reader_of_messages(bench: Bench, times: int) -> Row:
    """Close the pipe that progress and messages go to."""
    row = Row("nobody reads the messages (closed pipe)")
    for _trial in range(times):
        out = bench.fresh()

        def prepare() -> None:
            reading, writing = os.pipe()
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(writing)
            os.close(reading)

        run([word for word in bench.command(out) if word != "-q"], prepare)
        row.tried += 1
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def fill_the_pipe(bench: Bench, times: int) -> Row:
    """Let messages go to a pipe that is full: the job waits, until somebody reads or it is killed."""
    row = Row("pipe of the messages is full")
    for trial in range(times):
        out = bench.fresh()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))
        os.set_blocking(writing, True)

        def prepare(reading: int = reading, writing: int = writing) -> None:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(reading)

        job = Forked([word for word in bench.command(out) if word != "-q"], prepare)
        os.close(writing)
        result = job.wait(4 * bench.seconds)
        row.tried += 1
        if result is None and trial % 2:
            job.send(signal.SIGKILL)
        else:
            while os.read(reading, 1 << 16):
                pass
        if result is None:
            job.wait()
        os.close(reading)
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def turn_the_order(bench: Bench, times: int) -> Row:
    """Lose some of all parts before they are joined, so that the last are made before the first."""
    row = Row("parts made in another order")
    for _trial in range(times):
        out = bench.fresh()
        run(bench.command(out), raise_in(Join, "run", 0, KeyboardInterrupt()))
        parts = sorted(path for path in job_path(out).iterdir() if path.name.startswith("part_"))
        lost = bench.random.sample(parts[:-1], len(parts) // 2)
        for path in lost:
            path.unlink()
        row.tried += 1
        bench.settle(row, out)
    return row


def change_the_threads(bench: Bench, times: int) -> Row:
    """Kill a job, and go on with another number of threads."""
    row = Row("SIGKILL, then another number of threads")
    for trial in range(times):
        out = bench.fresh()
        words = bench.command(out)
        words[words.index("--threads") + 1] = str(2 + trial % 3)
        job = Forked(words)
        if job.wait(bench.moment()) is None:
            job.send(signal.SIGKILL)
            job.wait()
            row.tried += 1
            bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row
