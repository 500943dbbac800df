"""Hurt jobs in every way that can be thought of, go on with them, and compare the outputs byte by byte.

    python -m benchmarks.reliability.torture [--kills 200] [--points 120] [--seconds 900] [--write docs/reliability.md]

Each trial hurts `starvsr upscale` (the identity: bicubic at scale 1), runs the same command again until it ends well,
and asks: is the output the one of an undisturbed run, to the last byte; how many frames are missing; how many parts
were made that had been finished or begun before? Jobs are forked from this process, so that a trial costs no start
of Python. For POSIX systems only.
"""

from __future__ import annotations

import argparse
import errno
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.reliability import torture_disks as disks
from benchmarks.reliability import torture_memory as memory
from benchmarks.reliability import torture_programs as programs
from benchmarks.reliability.torture_bench import Bench, Row
from starvsr import api
from starvsr.jobs import run as running
from starvsr.video import probe

BEGIN, END = "<!-- torture:begin -->", "<!-- torture:end -->"


def faults(kills: int, points: int) -> dict[str, Callable[[Bench], Row]]:
    """Give the faults by name; ``kills`` and ``points`` say how often the main ones are tried."""
    few = max(2, points // 10)
    return {
        "kill": lambda bench: disks.kill_at_random(bench, kills),
        "points": lambda bench: disks.kill_at_file_calls(bench, points),
        "join": lambda bench: disks.kill_while_joining(bench, points // 4),
        "terminate": lambda b: disks.stop_politely(b, signal.SIGTERM, "SIGTERM at random moments", 143, few),
        "interrupt": lambda b: disks.stop_politely(b, signal.SIGINT, "Ctrl-C at random moments", 130, few),
        "nospace": lambda b: disks.fail_at_file_calls(
            b, points // 2, errno.ENOSPC, "disk full at single file operations"
        ),
        "disk": lambda bench: disks.fill_the_disk(bench, few),
        "readonly": lambda b: disks.fail_at_file_calls(b, points // 4, errno.EROFS, "disk turns read-only"),
        "closed": lambda bench: disks.close_the_folder(bench, few),
        "eio": lambda b: disks.fail_at_file_calls(b, points // 4, errno.EIO, "disk reports an error"),
        "vanish": lambda bench: disks.take_the_folder_away(bench, few),
        "input": lambda bench: disks.change_the_input(bench, few),
        "grow": lambda bench: disks.let_the_input_grow(bench, few),
        "memory": lambda bench: memory.run_out_of_memory(bench, few),
        "allocation": lambda bench: memory.fail_an_allocation(bench, 2 * few),
        "limit": lambda bench: memory.limit_the_memory(bench, 2 * few),
        "crash": lambda bench: programs.crash_a_worker(bench, max(few, 5)),
        "clock": lambda bench: programs.turn_the_clock(bench, few),
        "spoil": lambda bench: programs.spoil_files(bench, 2 * few),
        "two": lambda bench: programs.fight_over_a_job(bench, min(few, 5)),
        "pipe": lambda bench: programs.lose_the_reader_of_messages(bench, min(few, 5)),
        "fullpipe": lambda bench: programs.fill_the_pipe(bench, min(few, 4)),
        "order": lambda bench: programs.turn_the_order(bench, min(few, 5)),
        "threads": lambda bench: programs.change_the_threads(bench, min(few, 5)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Try all faults, print the table, and write it where it is wanted."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    _warm_up()
    began = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="starvsr-torture-", dir=options.folder) as folder:
        Path(folder).chmod(0o755)
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
            if row.ends:
                print(f"    exit codes: {row.ends}", file=sys.stderr, flush=True)
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
    import starvsr.jobs.inspect  # noqa: F401


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
