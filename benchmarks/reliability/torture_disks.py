"""Faults from outside: kills, signals, disks, folders, inputs that change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.torture_bench import (
    Bench,
    Forked,
    Row,
    at_call,
    count_calls,
    die,
    digest,
    fail_with,
    finished,
    run,
    spread,
)
from starvsr.jobs.folder import job_path
from starvsr.jobs.joiner import Join
from starvsr.video.parts.join_file import JoinFile


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
    for number, after in spread(chosen, points):
        out = bench.fresh()
        result = run(bench.command(out), at_call(number, die, after=after))
        row.tried += result.code == -signal.SIGKILL
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def fail_at_file_calls(bench: Bench, points: int, number: int, words: str) -> Row:
    """Let single file operations fail with an error of the system."""
    row = Row(words)
    for call in spread(range(count_calls(bench)), points):
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
    """Let the input change in place while the job runs: refused; then put it back."""
    return _spoil_the_input(bench, times, Row("input changes while it is read"), lambda whole: whole[:-64] + bytes(64))


def let_the_input_grow(bench: Bench, times: int) -> Row:
    """Let the input grow while the job runs: refused; then put it back."""
    return _spoil_the_input(bench, times, Row("input grows while it is read"), lambda whole: whole + b"more")


def _spoil_the_input(bench: Bench, times: int, row: Row, spoiled: Callable[[bytes], bytes]) -> Row:
    content = bench.source.read_bytes()
    for trial in range(times):
        out = bench.fresh()
        source = out.parent.with_name(f"{out.parent.name}.{trial}.mkv")
        source.write_bytes(content)
        job = Forked(bench.command(out, source))
        result = job.wait(bench.moment())
        if result is None:
            source.write_bytes(spoiled(content))
            result = job.wait()
            assert result is not None
            row.tried += 1
            if result.code == 0 and digest(out) != bench.digest:
                row.problems.append("an output of a changed input")
                row.equal = False
            source.write_bytes(content)
        bench.settle(row, out, source)
    return row


def kill_while_joining(bench: Bench, points: int) -> Row:
    """SIGKILL at single writes to the joined file, in the middle of some, and around the giving up of parts."""
    row = Row("SIGKILL while parts are joined")
    writes = _count_writes(bench)
    parts = 2 * len(_PARTS)
    for number in spread(range(writes + parts), points):
        out = bench.fresh()
        prepare = _die_at_write(number) if number < writes else _die_at_part(number - writes)
        result = run(bench.command(out), prepare)
        row.tried += result.code == -signal.SIGKILL
        bench.inspect(row, out, 0)
        again = run(bench.command(out), _die_at_write(bench.random.randrange(writes)))  # and once more on the way back
        row.tried += again.code == -signal.SIGKILL
        bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


_PARTS = range(8)  # of the clip's parts, as many are given up in any case


def _count_writes(bench: Bench) -> int:
    out, told = bench.fresh(), bench.folder / "writes"

    def prepare() -> None:
        write, count = JoinFile.write, [0]

        def counted(self: JoinFile, data: bytes) -> int:
            count[0] += 1
            told.write_text(str(count[0]))
            return write(self, data)

        setattr(JoinFile, "write", counted)  # noqa: B010 - mypy minds a plain assignment

    bench.expect(run(bench.command(out), prepare), 0)
    return int(told.read_text())


def _die_at_write(number: int) -> Callable[[], None]:
    """Die before the n-th write when n is even, in the middle of it when it is odd."""

    def prepare() -> None:
        write, count = JoinFile.write, [0]

        def call(self: JoinFile, data: bytes) -> int:
            count[0] += 1
            if count[0] > number:
                if number % 2:
                    write(self, data[: len(data) // 2])
                die()
            return write(self, data)

        setattr(JoinFile, "write", call)  # noqa: B010

    return prepare


def _die_at_part(number: int) -> Callable[[], None]:
    """Die right before or right after the n-th part is given up."""

    def prepare() -> None:
        give_up, count = Join._give_up, [0]

        def call(self: Join, *details: Any) -> None:
            count[0] += 1
            if count[0] > number // 2 and number % 2 == 0:
                die()
            give_up(self, *details)
            if count[0] > number // 2:
                die()

        setattr(Join, "_give_up", call)  # noqa: B010

    return prepare


def close_the_folder(bench: Bench, times: int) -> Row:
    """Take the right to write from the output's folder while the job runs, then give it back."""
    row = Row("output folder turns read-only")
    trial = bench.fresh()
    os.chmod(trial.parent, 0o777)
    if run(bench.command(trial), _become_nobody).code != 0:  # nobody may not even look into the folders above
        return row
    for _trial in range(times):
        out = bench.fresh()
        os.chmod(out.parent, 0o777)
        job = Forked(bench.command(out), _become_nobody)
        result = job.wait(bench.moment())
        if result is None:
            folders = [path for path in (out.parent, job_path(out)) if path.exists()]
            for path in folders:
                os.chmod(path, 0o555)
            result = job.wait()
            assert result is not None
            row.tried += result.code == 1
            if result.code not in (0, 1) or "unexpected" in result.said:
                row.problems.append(f"exit code {result.code}: {result.said}")
            for path in filter(Path.exists, folders):
                os.chmod(path, 0o777)
            bench.inspect(row, out, 0)
        bench.settle(row, out)
    return row


def _become_nobody() -> None:
    """Give up the right to write everywhere, which root has."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
