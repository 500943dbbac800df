"""Hurt jobs in every way that can be thought of, go on with them, and compare the outputs byte by byte.

    python -m benchmarks.torture [--kills 200] [--points 120] [--seconds 900] [--write docs/reliability.md]

Each trial hurts `starvsr upscale` (the identity: bicubic at scale 1), runs the same command again until it ends well,
and asks: is the output the one of an undisturbed run, to the last byte; how many frames are missing; how many parts
were made that had been finished or begun before? Jobs are forked from this process, so that a trial costs no start
of Python. For POSIX systems only.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from starvsr.apps.cli import main as starvsr
from starvsr.pipelines import api, baseline, running
from starvsr.pipelines.jobs import work
from starvsr.pipelines.jobs.folder import JobFolder, job_path
from starvsr.pipelines.jobs.journal import read_journal
from starvsr.pipelines.jobs.state import JobState
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe

NUM_FRAMES, RATE, WIDTH, HEIGHT = 60, 4, 48, 32
WORDS = ("--model", "bicubic", "--scale", "1", "--segment", "4", "--threads", "1", "--preset", "ultrafast", "-q")
BEGIN, END = "<!-- torture:begin -->", "<!-- torture:end -->"
_FILE_CALLS = ("fsync", "replace", "mkdir", "open", "unlink", "rmdir")
_STUCK = 120.0  # seconds after which a job is taken to hang


@dataclass
class Row:
    """What happened with one kind of fault."""

    fault: str
    tried: int = 0
    lost_frames: int = 0
    most_redone: int = 0
    equal: bool = True
    problems: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Give the cells of the table."""
        equal = "yes" if self.equal else "NO"
        return [self.fault, str(self.tried), str(self.lost_frames), str(self.most_redone), equal]


class Bench:
    """A clip, what an undisturbed run makes of it, and folders to hurt jobs in.

    Args:
        folder: Where everything goes.
        seed: Of the random moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.source = make_clip(folder / "in.mkv")
        self._count = 0
        out = self.fresh()
        began = time.monotonic()
        self.expect(run(self.command(out)), 0)
        self.seconds = time.monotonic() - began
        self.digest = digest(out)

    def fresh(self) -> Path:
        """Give an output in a folder of its own."""
        self._count += 1
        folder = self.folder / f"trial{self._count}"
        folder.mkdir()
        return folder / "out.mp4"

    def command(self, out: Path, source: Path | None = None) -> list[str]:
        """Give the command that makes an output."""
        return ["upscale", str(source or self.source), "-o", str(out), *WORDS]

    @staticmethod
    def expect(result: Result, code: int) -> None:
        """Refuse another exit code."""
        if result.code != code:
            raise AssertionError(f"exit code {result.code} in place of {code}: {result.said}")

    def moment(self) -> float:
        """Give a random moment of a run, in seconds from its start."""
        return self.random.uniform(0, 1.05 * self.seconds)

    def settle(self, row: Row, out: Path, source: Path | None = None) -> None:
        """Run the same command again and look at the output."""
        result = run(self.command(out, source))
        already = result.code == 1 and "already there" in result.said and not job_path(out).exists()
        if result.code != 0 and not already:  # "already there": the trial came after the end of the job
            row.problems.append(f"exit code {result.code}: {result.said}")
            row.equal = False
            return
        self.judge(row, out)

    def judge(self, row: Row, out: Path) -> None:
        """Compare a finished output with the undisturbed one; then remove it."""
        with VideoReader(out) as reader:
            row.lost_frames += NUM_FRAMES - sum(1 for _ in reader)
        if digest(out) != self.digest:
            row.equal = False
            row.problems.append("other bytes")
        left = [p.name for p in out.parent.iterdir() if p != out]
        if left:
            row.problems.append(f"left behind: {left}")
            row.equal = False
        shutil.rmtree(out.parent)

    def inspect(self, row: Row, out: Path, before: int) -> int:
        """After an interruption: nothing may be half named, nothing finished lost; give the finished parts."""
        if out.exists() and digest(out) != self.digest:
            row.problems.append("half an output under its name")
            row.equal = False
        if not job_path(out).exists():
            return before
        now, begun = finished(out), begun_parts(out)
        row.most_redone = max(row.most_redone, begun + max(0, before - now))
        return now


def make_clip(path: Path) -> Path:
    """Write a clip with sound of chance, a picture that moves and a few cuts."""
    rng = np.random.default_rng(5)
    shots = [rng.integers(0, 256, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(3)]
    with VideoWriter(
        path, source=None, width=WIDTH, height=HEIGHT, options=EncodeOptions(codec="ffv1"), frame_rate=Fraction(RATE)
    ) as writer:
        for index in range(NUM_FRAMES):
            picture = np.roll(shots[index * 3 // NUM_FRAMES], index, axis=1)[:HEIGHT, :WIDTH]
            writer.write(np.ascontiguousarray(picture), index, 1)
    return path


def digest(path: Path) -> str:
    """Hash a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finished(out: Path) -> int:
    """Count the finished parts of a job."""
    return len(JobState(read_journal(JobFolder(job_path(out)).journal)[0]).parts)


def begun_parts(out: Path) -> int:
    """Count the parts that were begun and not finished."""
    folder = job_path(out)
    state = JobState(read_journal(folder / "journal")[0])
    files = {name.removesuffix(".partial") for name in os.listdir(folder) if name.startswith("part_")}
    return len(files - {f"part_{index:06}" for index in state.parts})


# ---- running and hurting jobs


@dataclass(frozen=True)
class Result:
    """How a forked job ended: its exit code (negative: the signal), and what it said."""

    code: int
    said: str


class Forked:
    """A job in a process forked from this one.

    Args:
        words: The command.
        prepare: Called in the new process before the command.
    """

    def __init__(self, words: list[str], prepare: Callable[[], None] | None = None) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `wait`
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.dup2(self._said.fileno(), 1)
                os.dup2(self._said.fileno(), 2)
                if prepare is not None:
                    prepare()
                code = starvsr(words)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def wait(self, seconds: float = _STUCK) -> Result | None:
        """Wait for the end, at most so long; None when it runs on."""
        deadline = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._said.seek(0)
                said = self._said.read().strip().replace("\n", " | ")
                self._said.close()
                return Result(os.waitstatus_to_exitcode(status), said)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(0.002, left))

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)


def run(words: list[str], prepare: Callable[[], None] | None = None) -> Result:
    """Run a job to its end."""
    job = Forked(words, prepare)
    result = job.wait()
    if result is None:
        job.send(signal.SIGKILL)
        job.wait()
        raise AssertionError(f"a job hangs: {words}")
    return result


def at_call(number: int, act: Callable[[], None], *, after: bool = False) -> Callable[[], None]:
    """Give a preparation: act at the n-th call of the system's file functions (0: the first), before or after it."""

    def prepare() -> None:
        count = 0

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **details: Any) -> Any:
                nonlocal count
                count += 1
                if count - 1 == number and not after:
                    act()
                result = function(*arguments, **details)
                if count - 1 == number and after:
                    act()
                return result

            return call

        for name in _FILE_CALLS:
            setattr(os, name, wrap(getattr(os, name)))

    return prepare


def count_calls(bench: Bench) -> int:
    """Count the calls of the system's file functions in an undisturbed run."""
    out = bench.fresh()
    told = bench.folder / "calls"

    def prepare() -> None:
        seen = [0]

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **details: Any) -> Any:
                seen[0] += 1
                told.write_text(str(seen[0]))
                return function(*arguments, **details)

            return call

        for name in _FILE_CALLS:
            setattr(os, name, wrap(getattr(os, name)))

    bench.expect(run(bench.command(out), prepare), 0)
    return int(told.read_text())


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(number: int) -> Callable[[], None]:
    """Give something that raises an error of the system."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


# ---- the faults


def kill_at_random(bench: Bench, kills: int) -> Row:
    """SIGKILL at random moments, again and again, until the job is done."""
    row = Row("SIGKILL at random moments")
    while row.tried < kills:
        out, before = bench.fresh(), 0
        while row.tried < kills:
            job = Forked(bench.command(out))
            if job.wait(bench.moment()) is not None:
                break
            job.send(signal.SIGKILL)
            job.wait()
            row.tried += 1
            before = bench.inspect(row, out, before)
        bench.settle(row, out)
    return row


def kill_at_file_calls(bench: Bench, points: int) -> Row:
    """SIGKILL right before and right after calls that open, flush, rename or remove files."""
    row = Row("SIGKILL before and after single file operations")
    total = count_calls(bench)
    chosen = [(number, after) for number in range(total) for after in (False, True)]
    for number, after in _spread(chosen, points):
        out = bench.fresh()
        result = run(bench.command(out), at_call(number, die, after=after))
        row.tried += result.code == -signal.SIGKILL
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def fail_at_file_calls(bench: Bench, points: int, number: int, words: str) -> Row:
    """Let single file operations fail with an error of the system."""
    row = Row(words)
    for call in _spread(range(count_calls(bench)), points):
        out = bench.fresh()
        result = run(bench.command(out), at_call(call, fail_with(number)))
        row.tried += 1
        if result.code not in (0, 1) or "unexpected" in result.said:
            row.problems.append(f"at call {call}: exit code {result.code}: {result.said}")
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def stop_politely(bench: Bench, number: int, words: str, code: int, times: int) -> Row:
    """SIGTERM or Ctrl-C at random moments."""
    row = Row(words)
    out, before = bench.fresh(), 0
    while row.tried < times:
        job = Forked(bench.command(out))
        result = job.wait(bench.moment())
        if result is None:
            job.send(number)
            result = job.wait()
            assert result is not None
            row.tried += 1
            if result.code not in (0, code, -number):  # -number: before the command could listen
                row.problems.append(f"exit code {result.code}: {result.said}")
            before = bench.inspect(row, out, before)
        if result.code == 0:
            bench.judge(row, out)
            out, before = bench.fresh(), 0
    if out.parent.exists():
        bench.settle(row, out)
    return row


def fill_the_disk(bench: Bench, times: int) -> Row:
    """Let jobs run into the end of a real small disk; then make it larger. Needs the right to mount."""
    row = Row("disk full (small tmpfs)")
    whole = 8 + os.path.getsize(bench.source) // 1024
    for _trial in range(times):
        out = bench.fresh()
        size = bench.random.randrange(24, 2 * whole, 4)
        if not _mount(out.parent, size):
            return row
        try:
            result = run(bench.command(out))
            row.tried += result.code == 1
            if result.code == 1 and "disk" not in result.said:
                row.problems.append(result.said)
            before = finished(out)
            bench.inspect(row, out, before)
            subprocess.run(["mount", "-o", "remount,size=64m", str(out.parent)], check=True)
            again = run(bench.command(out)) if result.code else result
            bench.expect(again, 0)
            _keep(out)
        finally:
            subprocess.run(["umount", str(out.parent)], check=True)
        _bring_back(out)
        bench.judge(row, out)
    return row


def _keep(out: Path) -> None:
    shutil.copy(out, out.parent.with_name(f"{out.parent.name}.kept"))


def _bring_back(out: Path) -> None:
    shutil.move(out.parent.with_name(f"{out.parent.name}.kept"), out)


def _mount(folder: Path, kilobytes: int) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def take_the_folder_away(bench: Bench, times: int) -> Row:
    """Rename the output's folder while the job runs, then rename it back."""
    row = Row("output folder vanishes and comes back")
    for _trial in range(times):
        out = bench.fresh()
        job = Forked(bench.command(out))
        result = job.wait(bench.moment())
        away = out.parent.with_name(f"{out.parent.name}.away")
        if result is None:
            os.rename(out.parent, away)
            result = job.wait()
            assert result is not None
            row.tried += 1
            if result.code not in (0, 1) or "unexpected" in result.said:
                row.problems.append(f"exit code {result.code}: {result.said}")
            if out.parent.exists():  # an error's tidying up must not make folders
                row.problems.append("the folder was made again")
            os.rename(away, out.parent)
            bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def change_the_input(bench: Bench, times: int) -> Row:
    """Let the input grow, or change in place, while the job runs: refused; then put it back."""
    row = Row("input changes while it is read")
    content = bench.source.read_bytes()
    for trial in range(times):
        out = bench.fresh()
        source = out.parent.with_name(f"changing{trial}.mkv")
        source.write_bytes(content)
        job = Forked(bench.command(out, source))
        result = job.wait(bench.moment())
        if result is None:
            spoiled = content + b"more" if trial % 2 else content[:-64] + bytes(64)
            source.write_bytes(spoiled)
            result = job.wait()
            assert result is not None
            row.tried += 1
            if result.code == 0 and digest(out) != bench.digest:
                row.problems.append("an output of a changed input")
                row.equal = False
            source.write_bytes(content)
        bench.settle(row, out, source)
    return row


def run_out_of_memory(bench: Bench, times: int) -> Row:
    """Raise MemoryError in the n-th segment."""
    row = Row("out of memory in the n-th segment")
    for trial in range(times):
        out = bench.fresh()
        result = run(bench.command(out), _raise_in_segment(trial * (NUM_FRAMES // 4) // times, MemoryError()))
        row.tried += 1
        if result.code != 1 or "out of memory" not in result.said:
            row.problems.append(f"exit code {result.code}: {result.said}")
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def crash_a_worker(bench: Bench, times: int) -> Row:
    """Raise an error that nobody foresaw, in the threads that compute, read and write in turn."""
    row = Row("crash of a worker thread (compute, read, write)")
    for trial in range(times):
        out = bench.fresh()
        place = (trial * 7919) % (NUM_FRAMES // 4)
        hurts = (
            _raise_in_segment(place, ValueError("crash")),
            _raise_in_reader(place * 4),
            _raise_in_writer(place * 4),
        )
        result = run(bench.command(out), hurts[trial % 3])
        row.tried += 1
        if result.code != 1:
            row.problems.append(f"exit code {result.code}: {result.said}")
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def _raise_in_segment(number: int, error: BaseException) -> Callable[[], None]:
    return _raise_in(baseline.BicubicUpscaler, "upscale_clip", number, error)


def _raise_in_reader(number: int) -> Callable[[], None]:
    return _raise_in(VideoReader, "_to_pixels", number, ValueError("crash"))


def _raise_in_writer(number: int) -> Callable[[], None]:
    return _raise_in(work.PartWriter, "write", number, ValueError("crash"))


def _raise_in(owner: Any, name: str, number: int, error: BaseException) -> Callable[[], None]:
    def prepare() -> None:
        function, count = getattr(owner, name), [0]

        def call(*arguments: Any, **details: Any) -> Any:
            count[0] += 1
            if count[0] > number:
                raise error
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
    """Kill a job and change one byte of its journal, its plan or a part, cut it off, or remove it."""
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
    file = (chance.choice(files), folder / "journal", folder / "plan.json")[trial % 3]
    content = bytearray(file.read_bytes())
    how = (trial // 3) % 3
    if how == 0:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
    elif how == 1 or file.name == "journal":  # without its journal a job is one that has not begun
        file.write_bytes(content[: -chance.randrange(1, min(200, len(content)))])
    else:
        file.unlink()


def _count_redone(bench: Bench, row: Row, out: Path, before: int) -> None:
    """Let a run look over the spoiled job, and count what it takes for unfinished."""
    with contextlib.suppress(AssertionError):
        run(bench.command(out), _raise_in(work.JobWork, "_make_parts", 0, KeyboardInterrupt()))
        lost = before - finished(out) if job_path(out).exists() else before
        row.most_redone = max(row.most_redone, lost)


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


def _spread(items: Any, count: int) -> Iterator[Any]:
    """Yield so many of the items, evenly spread."""
    every = list(items)
    step = max(1.0, len(every) / count)
    return (every[int(i * step)] for i in range(min(count, len(every))))


# ---- all of it


def faults(kills: int, points: int) -> dict[str, Callable[[Bench], Row]]:
    """Give the faults by name; ``kills`` and ``points`` say how often the main ones are tried."""
    few = max(2, points // 10)
    return {
        "kill": lambda bench: kill_at_random(bench, kills),
        "points": lambda bench: kill_at_file_calls(bench, points),
        "terminate": lambda b: stop_politely(b, signal.SIGTERM, "SIGTERM at random moments", 143, few),
        "interrupt": lambda b: stop_politely(b, signal.SIGINT, "Ctrl-C at random moments", 130, few),
        "nospace": lambda b: fail_at_file_calls(b, points // 2, errno.ENOSPC, "disk full at single file operations"),
        "disk": lambda bench: fill_the_disk(bench, few),
        "readonly": lambda b: fail_at_file_calls(b, points // 4, errno.EROFS, "disk turns read-only"),
        "eio": lambda b: fail_at_file_calls(b, points // 4, errno.EIO, "disk reports an error"),
        "vanish": lambda bench: take_the_folder_away(bench, few),
        "input": lambda bench: change_the_input(bench, few),
        "memory": lambda bench: run_out_of_memory(bench, few),
        "crash": lambda bench: crash_a_worker(bench, few),
        "clock": lambda bench: turn_the_clock(bench, few),
        "spoil": lambda bench: spoil_files(bench, 2 * few),
        "two": lambda bench: fight_over_a_job(bench, min(few, 5)),
        "pipe": lambda bench: lose_the_reader_of_messages(bench, min(few, 5)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Try all faults, print the table, and write it where it is wanted."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    _warm_up()
    began = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="starvsr-torture-", dir=options.folder) as folder:
        bench = Bench(Path(folder), options.seed)
        for name, fault in faults(options.kills, options.points).items():
            if options.only and name not in options.only:
                continue
            if time.monotonic() - began > options.seconds:
                print(f"out of time before: {name}", file=sys.stderr)
                break
            row = fault(bench)
            rows.append(row)
            print(f"{' | '.join(row.cells())}", file=sys.stderr, flush=True)
            for problem in row.problems:
                print(f"    {problem}", file=sys.stderr, flush=True)
    table = as_table(rows)
    print(table)
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    if options.write:
        write_table(options.write, table)
    return 0 if all(row.equal and not row.problems and not row.lost_frames for row in rows) else 1


def _warm_up() -> None:
    """Import what a job imports, so that forked ones need not."""
    probe.__module__  # noqa: B018 - the name is resolved on first use
    assert api and running
    import starvsr.apps.cli.inputs
    import starvsr.apps.cli.progress
    import starvsr.apps.cli.upscale_command
    import starvsr.pipelines.jobs.survey  # noqa: F401


def as_table(rows: list[Row]) -> str:
    """Write the rows as a table of Markdown."""
    head = ["fault", "times tried", "lost frames", "parts redone, at most", "hash equal"]
    lines = [head, ["---"] * len(head), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_table(page: Path, table: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put a table between its marks in a page."""
    begin, end = marks
    head, rest = page.read_text().split(begin)
    page.write_text(f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200, help="kills at random moments (default: 200)")
    parser.add_argument("--points", type=int, default=120, help="file operations to hurt (default: 120)")
    parser.add_argument("--seconds", type=float, default=900, help="begin no further fault after this (default: 900)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--only", nargs="*", help="names of faults")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--json", type=Path, help="also write the rows as JSON")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
