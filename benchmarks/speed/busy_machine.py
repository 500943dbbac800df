"""What does upscaling cost beside other programs? The command alone and beside as many busy loops as there are cores.

    python -m benchmarks.speed.busy_machine CLIP [--rounds 3] [--other SRC] [--alone] [-- OPTIONS OF upscale]

Alone and beside take turns; the least of each counts, as what disturbs a run only adds. ``--other`` measures another
version, from its ``src`` folder, in the same rounds; ``--alone`` leaves the busy loops out. Goals: beside busy loops at
most 2.2 times the time and 1.2 times the processor time. Needs Linux or macOS; processor time is that of the command
and of its children. Each run is printed with the processor time that the host of a virtual machine gave to others
while it ran ("stolen", Linux): runs with much of it say nothing. Bytecode is compiled first, as an installation does.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = dict(os.environ)  # importing starvsr makes threads wait asleep, in children of another version too
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)

import starvsr  # noqa: E402
from benchmarks.reliability.processes import STARVSR  # noqa: E402
from starvsr.processors import allowed_processors  # noqa: E402

MOST_TIME, MOST_PROCESSOR_TIME = 2.2, 1.2
_LOOP = """
import os
if hasattr(os, "sched_setscheduler"):  # never at a priority that nothing runs beside, whoever starts it
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
while True:
    pass
"""


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep so many processors busy with other programs."""
    loops = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(clip: Path, options: list[str], source: Path | None, loops: int) -> tuple[float, float]:
    """Return wall and processor seconds of upscaling a clip."""
    environment = dict(ENVIRONMENT)
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    with tempfile.TemporaryDirectory() as folder, busy_loops(loops):
        out = Path(folder) / "out.mkv"
        began, used = time.perf_counter(), _children()
        subprocess.run([*STARVSR, "upscale", str(clip), "-o", str(out), "-q", *options], check=True, env=environment,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        seconds, spent = time.perf_counter() - began, _children() - used
    return seconds, spent


def _children() -> float:
    """Return the processor seconds of children that have ended; the loops are still running when it is asked."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def stolen_seconds() -> float:
    """Return the processor seconds that a virtual machine waited for its host since it started; 0 where not told."""
    with contextlib.suppress(OSError), open("/proc/stat") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def as_table(rows: dict[str, list[tuple[float, float]]]) -> str:
    """Write the figures of each version, (wall, processor) alone and beside, as a table of Markdown."""
    lines = ["| version | alone: time, processor time | beside | ratio |", "| --- | --- | --- | --- |"]
    for name, (alone, beside) in rows.items():
        ratio = f"{beside[0] / alone[0]:.2f}, {beside[1] / alone[1]:.2f}"
        lines.append(
            f"| {name} | {alone[0]:.2f} s, {alone[1]:.2f} s | {beside[0]:.2f} s, {beside[1]:.2f} s | {ratio} |"
        )
    return "\n".join(lines)


def as_table_alone(seen: dict[str, list[tuple[float, float]]]) -> str:
    """Write the runs of each version, (wall, processor), as a table of Markdown."""
    lines = ["| version | time: least, median | processor time: least, median |", "| --- | --- | --- |"]
    for name, runs in seen.items():
        cells = [f"{min(column):.2f} s, {statistics.median(column):.2f} s" for column in zip(*runs, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status says whether this version meets the goals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", type=Path, metavar="SRC", help="src folder of a version to compare with")
    parser.add_argument("--alone", action="store_true", help="without busy loops")
    given = sys.argv[1:] if arguments is None else arguments
    end = given.index("--") if "--" in given else len(given)
    args, options = parser.parse_args(given[:end]), given[end + 1 :]
    cores = allowed_processors()
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {cores} processors{load}; the least of {args.rounds} rounds", flush=True)
    versions = {"this": None} | ({"other": args.other} if args.other else {})
    for source in (Path(starvsr.__file__).parent, *([args.other] if args.other else [])):
        compileall.compile_dir(source, quiet=2)
    kinds = (0,) if args.alone else (0, cores)
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for index in range(args.rounds):
        for name, source in list(versions.items())[:: -1 if index % 2 else 1]:
            for loops in kinds:
                before = stolen_seconds()
                wall, used = measure(args.clip, options, source, loops)
                seen.setdefault((name, loops), []).append((wall, used))
                stolen = stolen_seconds() - before
                kind = "beside" if loops else "alone"
                print(f"{name} {kind}: {wall:.2f} s, {used:.2f} s of processor, {stolen:.1f} s stolen", flush=True)
    if args.alone:
        print(as_table_alone({name: seen[name, 0] for name in versions}))
        return 0
    least = {key: (min(wall for wall, _ in runs), min(used for _, used in runs)) for key, runs in seen.items()}
    rows = {name: [least[name, loops] for loops in kinds] for name in versions}
    print(as_table(rows))
    alone, beside = rows["this"]
    return int(beside[0] > MOST_TIME * alone[0] or beside[1] > MOST_PROCESSOR_TIME * alone[1])


if __name__ == "__main__":
    sys.exit(main())
