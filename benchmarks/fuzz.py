"""Give starvsr damaged and hostile files, and see that it refuses them with a message or does them within bounds.

    python -m benchmarks.fuzz --count 500 --seed 1 [--tally tally.json] [--write docs/reliability.md]

Each input goes through `starvsr info` and `starvsr upscale` (bicubic at scale 1) in a process that is forked from one
that has everything loaded, and that takes one input after the other, so that an input costs no start of Python. Judged
is each of these: the process dies by a signal; an exception that is not ours comes out; it takes too long; it takes too
much memory; it writes a file outside of the output folder, opens a connection or starts a program; an output lies under
its final name after a failure; the message has several lines or control characters. With ``--tally``, several calls
with different seeds add up to one table. For Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import fuzz_bombs, fuzz_inputs
from benchmarks.torture import write_table
from starvsr.apps.cli import main as starvsr
from starvsr.pipelines import api, running
from starvsr.pipelines.families import baseline

BEGIN, END = "<!-- fuzz:begin -->", "<!-- fuzz:end -->"
SECONDS = 60.0  # for one input, both commands
EXTRA_BYTES = 600 << 20  # of memory beyond what the process had before the input
_ADDRESSES = 4 << 30  # of address space beyond it: a net below the judgement
_INPUTS_EACH = 200  # then the process is replaced
_LIMITS = ("--max-pixels", "4000000", "--max-frames", "300000", "--max-metadata", "4MB", "--max-stall", "30")
_WORDS = ("--model", "bicubic", "--scale", "1", "--segment", "4", "--threads", "1", "-q")
_OUTPUTS = ("out.mp4", "out.mkv", "out.mov", "pictures", "out.mkv", "out.mp4")
_ISOLATE_EACH = 25  # one input of so many is decoded in a process of its own
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn")
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate")
_ENDS = {0: "completed", 1: "refused", 2: "refused"}


@dataclass
class Row:
    """What happened with one kind of input."""

    kind: str
    tried: int = 0
    refused: int = 0
    completed: int = 0
    findings: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Give the cells of the table."""
        return [self.kind, *map(str, (self.tried, self.refused, self.completed, len(self.findings)))]


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        kind: What is wrong with it.
        name: Its file name.
        data: Its content.
        number: Of the input; chooses the output and how damage is met.
    """

    kind: str
    name: str
    data: bytes
    number: int


class Source:
    """Makes the inputs of a seed: first all that are built to harm, then damaged files.

    Args:
        folder: For the files that damage begins from.
        seed: Of the damage.
        bombs: Whether to give those that are built to harm.
    """

    def __init__(self, folder: Path, seed: int, *, bombs: bool = True) -> None:
        self._seeds = _in_fork(folder)
        self._seed = seed
        self._bombs = list(fuzz_bombs.BOMBS) if bombs else []

    def case(self, number: int) -> Case:
        """Make an input."""
        if number < len(self._bombs):
            name, data = fuzz_bombs.BOMBS[self._bombs[number]](self._seeds)
            return Case("built to harm", name, data, number)
        kind, name, data = fuzz_inputs.hurt(self._seeds, random.Random(f"{self._seed}/{number}"))
        return Case(kind, name, data, number)

    def describe(self, number: int) -> str:
        """Say which input it is, so that it can be made again."""
        if number < len(self._bombs):
            return self._bombs[number]
        return f"seed {self._seed}, number {number}"


def _in_fork(folder: Path) -> dict[str, bytes]:
    """Make the seeds in a process of their own: encoders leave threads behind, and this one will be forked."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            fuzz_inputs.make_seeds(folder)
            os._exit(0)
        os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the files to begin from could not be made")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- in the process that is hurt


class Room:
    """Where one input is tried: ``in/`` with the input, ``out/``, and places where nothing may appear."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("in", "out", "elsewhere"):
            (folder / name).mkdir(parents=True)
        self.source = folder / "in" / case.name
        self.source.write_bytes(case.data)
        self.out = folder / "out" / _OUTPUTS[case.number % len(_OUTPUTS)]

    def strangers(self) -> list[str]:
        """Name the files that are neither the input nor in the output folder."""
        found = [p for p in self.folder.rglob("*") if p.is_file() and self.folder / "out" not in p.parents]
        return [str(p.relative_to(self.folder)) for p in found if p != self.source]


class Watch:
    """Sees what the interpreter opens for writing, connects to and starts."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.may_start = False
        self.seen: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in _STARTS and self.may_start:
            return
        if event in (*_STARTS, "socket.connect", "os.system"):
            self.seen.append(f"{event} {arguments[:1]}")
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if is_write or event in _CHANGES:
            self._check(arguments[0])

    def _check(self, path: Any) -> None:
        if isinstance(path, int) or self.allowed is None:
            return
        place = Path(os.path.realpath(os.fsdecode(path)))
        if self.allowed not in (place, *place.parents) and str(place) != os.devnull:
            self.seen.append(f"writes {place}")


def _serve(source: Source, folder: Path, jobs: Any, answers: Any) -> None:
    """Try inputs as their numbers come, and answer with a line each."""
    room = folder / "room"
    said = folder / "said"
    (folder / "cwd").mkdir(exist_ok=True)
    os.chdir(folder / "cwd")
    for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(room / "elsewhere")
    tempfile.tempdir = None
    handle = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    size = _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESSES, size + _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch = Watch()
    for line in jobs:
        answer = _try(source.case(int(line)), room, handle, watch)
        answer["findings"] += [f"wrote {p.name}" for p in (folder / "cwd").iterdir()]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _try(case: Case, folder: Path, handle: int, watch: Watch) -> dict[str, Any]:
    """Give one input to both commands and judge."""
    room = Room(folder, case)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    before = _status("VmRSS")
    findings: list[str] = []
    corrupt = ("error", "skip", "conceal")[case.number % 3]
    commands: tuple[list[str], ...] = (
        ["info", str(room.source), *_LIMITS, *(["--json"] if case.number % 2 else [])],
        ["upscale", str(room.source), "-o", str(room.out), *_WORDS, *_LIMITS, "--on-corrupt", corrupt],
    )
    watch.allowed, watch.seen = room.folder.resolve() / "out", []
    watch.may_start = case.number % _ISOLATE_EACH == 1
    if watch.may_start:
        commands = tuple([*command, "--isolate"] for command in commands)
    ends = [_run(command, handle, findings) for command in commands]
    watch.allowed = None
    findings += watch.seen
    peak = _status("VmHWM") - before
    if peak > EXTRA_BYTES:
        findings.append(f"took {peak >> 20} MB")
    findings += [f"wrote {stranger}" for stranger in room.strangers()]
    if ends[1] != 0 and room.out.exists():
        findings.append(f"left {room.out.name} after a failure")
    if ends[1] == 0 and not room.out.exists():
        findings.append("made no output and did not say so")
    return {"end": _ENDS.get(ends[1], "refused"), "findings": findings, "megabytes": peak >> 20}


def _run(command: list[str], handle: int, findings: list[str]) -> int:
    """Run a command in this process; look at its exit code and at what it says."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    code: int
    try:
        code = starvsr(list(command))
    except BaseException as error:
        findings.append(f"{command[0]}: {type(error).__name__} came out: {str(error)[:200]}")
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os.lseek(handle, 0, os.SEEK_SET)
    text = os.read(handle, 1 << 20).decode(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if code not in (0, 99) and len(errors) != 1:
        findings.append(f"{command[0]}: exit code {code} and {len(errors)} lines of error: {text[-300:]}")
    if "unexpected " in text or "Traceback" in text:
        findings.append(f"{command[0]}: {text[-400:]}")
    if any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in text):
        findings.append(f"{command[0]}: control characters: {text[-300:]!r}")
    return code


def _status(name: str) -> int:
    """Return a figure of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) << 10


# ---- in the process that judges


class Victim:
    """A process that takes one input after the other."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._folder = folder
        self.num_done = 0
        job_end, jobs = os.pipe()
        answers, answer_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(jobs)
            os.close(answers)
            with contextlib.suppress(BaseException), os.fdopen(job_end) as lines, os.fdopen(answer_end, "w") as told:
                _serve(source, folder, lines, told)
            os._exit(0)
        os.close(job_end)
        os.close(answer_end)
        self._jobs = os.fdopen(jobs, "w")
        self._answers = os.fdopen(answers, "rb", buffering=0)

    def give(self, number: int) -> dict[str, Any]:
        """Let it try an input; tell how that ended even when it never answers."""
        self.num_done += 1
        try:
            self._jobs.write(f"{number}\n")
            self._jobs.flush()
            line = self._line()
        except BrokenPipeError:
            line = b""
        if line is None:
            os.kill(self._pid, signal.SIGUSR1)
            time.sleep(0.5)
            end = f"no end after {SECONDS:.0f} s"
        elif line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        else:
            end = "died"
        status = self.close()
        if os.WIFSIGNALED(status) and end == "died":
            end = f"died by {signal.Signals(os.WTERMSIG(status)).name}"
        said = (self._folder / "said").read_text(errors="replace")[-1500:]
        return {"end": "died", "findings": [f"{end}: {said}"], "megabytes": 0}

    def _line(self) -> bytes | None:
        """Read a line; None when time is up. Time in which this process was halted as well does not count."""
        line, ticks = b"", 0.0
        while not line.endswith(b"\n"):
            if select.select([self._answers], [], [], 0.25)[0]:
                piece = self._answers.read(1 << 16)
                if not piece:
                    return b""
                line += piece
            else:
                ticks += 0.25
            if ticks > SECONDS:
                return None
        return line

    def close(self) -> int:
        """End the process and return its status."""
        if self._pid == 0:
            return 0
        with contextlib.suppress(OSError):
            self._jobs.close()
        pid, status, patience = 0, 0, 20
        while not pid and patience:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            patience -= 1
            if not pid:
                time.sleep(0.1)
        if not pid:
            os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._answers.close()
        return status


def fuzz(source: Source, numbers: range, folder: Path, *, seconds: float = float("inf")) -> dict[str, Row]:
    """Try inputs and return a row for each kind.

    Args:
        source: Makes them.
        numbers: Which ones.
        folder: Where they are tried; emptied again and again.
        seconds: Begin no further input after this.
    """
    rows: dict[str, Row] = {}
    began = time.monotonic()
    victim: Victim | None = None
    for number in numbers:
        if time.monotonic() - began > seconds:
            break
        if victim is None or victim.num_done >= _INPUTS_EACH:
            if victim is not None:
                victim.close()
            victim = Victim(source, folder)
        answer = victim.give(number)
        row = rows.setdefault(source.case(number).kind, Row(source.case(number).kind))
        row.tried += 1
        row.refused += answer["end"] == "refused"
        row.completed += answer["end"] == "completed"
        for finding in answer["findings"]:
            row.findings.append(f"{source.describe(number)}: {finding}")
            print(row.findings[-1], file=sys.stderr, flush=True)
        if answer["end"] == "died":
            victim.close()
            victim = None
    if victim is not None:
        victim.close()
    return rows


def replay(rows: dict[str, Row], source: Source, seed: int, folder: Path) -> None:
    """Try the damaged files again in which something was found; what is not found again is no longer open."""
    for row in rows.values():
        numbers = {
            int(hit.group(1)) for text in row.findings if (hit := re.match(rf"seed {seed}, number (\d+):", text))
        }
        for number in sorted(numbers):
            again = fuzz(source, range(number, number + 1), folder)
            still = [text for found in again.values() for text in found.findings]
            prefix = f"{source.describe(number)}:"
            row.findings = [text for text in row.findings if not text.startswith(prefix)] + still


def merge(rows: dict[str, Row], more: dict[str, Row]) -> dict[str, Row]:
    """Add up two runs."""
    total = {kind: Row(**asdict(row)) for kind, row in rows.items()}
    for kind, row in more.items():
        here = total.setdefault(kind, Row(kind))
        here.tried += row.tried
        here.refused += row.refused
        here.completed += row.completed
        here.findings += row.findings
    return total


def as_table(rows: dict[str, Row]) -> str:
    """Write the rows as a table, with a sum below."""
    heads = ["input", "tried", "refused with a message", "completed", "open findings"]
    whole = Row("**all**")
    for row in rows.values():
        whole.tried += row.tried
        whole.refused += row.refused
        whole.completed += row.completed
        whole.findings += row.findings
    ordered = [rows[kind] for kind in sorted(rows)] + [whole]
    lines = [heads, ["---"] * len(heads), *(row.cells() for row in ordered)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="inputs to try (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: 0)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further input after this")
    parser.add_argument("--tally", type=Path, metavar="FILE", help="add up with what earlier calls left here")
    parser.add_argument("--again", action="store_true", help="only try again what --tally says was found with --seed")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the inputs there and try none")
    parser.add_argument("--folder", type=Path, help="where inputs are tried (default: a temporary folder)")
    return parser


def main() -> int:
    """Run the bench; the exit code is 1 when something was found."""
    words = _parser().parse_args()
    torch.set_num_threads(1)
    assert api and baseline and running  # loaded here, so that processes forked from this one need not
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=words.folder) as name:
        folder = Path(name)
        for part in ("seeds", "work"):
            (folder / part).mkdir()
        source = Source(folder / "seeds", words.seed)
        if words.save is not None:
            for case in map(source.case, range(words.first, words.first + words.count)):
                (words.save / f"{case.number}_{case.name}").write_bytes(case.data)
            return 0
        if words.again:
            rows = {kind: Row(**row) for kind, row in json.loads(words.tally.read_text()).items()}
            replay(rows, source, words.seed, folder / "work")
            words.tally.write_text(json.dumps({kind: asdict(row) for kind, row in rows.items()}, indent=1))
            print(as_table(rows))
            return 0
        rows = fuzz(source, range(words.first, words.first + words.count), folder / "work", seconds=words.seconds)
    found = any(row.findings for row in rows.values())
    if words.tally is not None:
        if words.tally.exists():
            rows = merge({kind: Row(**row) for kind, row in json.loads(words.tally.read_text()).items()}, rows)
        words.tally.write_text(json.dumps({kind: asdict(row) for kind, row in rows.items()}, indent=1))
    table = as_table(rows)
    print(table)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if words.write is not None:
        write_table(words.write, table, (BEGIN, END))
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
