"""What hurting jobs takes: a clip, jobs in forked processes that end anywhere, and a look at what is left."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from starvsr.apps.cli import main as starvsr
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.journal import read_journal
from starvsr.jobs.state import JobState
from starvsr.video import EncodeOptions, VideoReader, VideoWriter

Item = TypeVar("Item")
NUM_FRAMES, RATE, WIDTH, HEIGHT = 60, 4, 48, 32
WORDS = ("--model", "bicubic", "--scale", "1", "--segment", "4", "--threads", "1", "--preset", "ultrafast", "-q")
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
    ends: dict[int, int] = field(default_factory=dict)  # how often with which exit code

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
        if out.exists() or not job_path(out).exists():  # with the output there, only the tidying up was cut short
            return before
        now, begun = finished(out), begun_parts(out)
        redone = begun + max(0, before - now)
        if redone > 1:
            left = sorted(path.name for path in job_path(out).iterdir())
            row.problems.append(f"{redone} parts made again: {before} were finished, {now} are; left: {left}")
        row.most_redone = max(row.most_redone, redone)
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
        gc.collect()  # frames in cycles: their scalers' threads end here, for they would be waited for in vain there
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


def spread(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Yield so many of the items, evenly spread."""
    every = list(items)
    step = max(1.0, len(every) / count)
    return (every[int(i * step)] for i in range(min(count, len(every))))


def raise_in(owner: Any, name: str, number: int, error: BaseException) -> Callable[[], None]:
    """Give a preparation: a function of ``owner`` raises from its n-th call on."""

    def prepare() -> None:
        function, count = getattr(owner, name), [0]

        def call(*arguments: Any, **details: Any) -> Any:
            count[0] += 1
            if count[0] > number:
                raise error
            return function(*arguments, **details)

        setattr(owner, name, call)

    return prepare
