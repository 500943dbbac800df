"""What do processes side by side gain? The same job in this process and in several, in turns; bytes are compared.

    python -m benchmarks.speed.processes CLIP [--processes 2] [--rounds 3] [--threads 1] [-- OPTIONS OF upscale]

Each process computes on ``--threads`` threads, the job in one process once on as many and once on as many as all of
them together. Times are those of the command, starting of processes and loading of models included; the least of the
rounds counts, as what disturbs a run only adds. Also told: the share of the first pass, which plans the job (frames
counted, scene cuts found), in the time of the job in one process.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.processes import STARVSR
from starvsr.jobs.planning import plan_job_parts
from starvsr.processors import allowed_processors


def measure(clip: Path, out: Path, options: list[str]) -> tuple[float, str]:
    """Return wall seconds of upscaling a clip, and the SHA-256 of the output."""
    out.unlink(missing_ok=True)
    began = time.perf_counter()
    command = [*STARVSR, "upscale", str(clip), "-o", str(out), "-q", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, hashlib.sha256(out.read_bytes()).hexdigest()


def seconds_to_plan(clip: Path) -> float:
    """Return the seconds of the first pass over a clip, with nothing else under way."""
    import starvsr
    from starvsr.engine.progress import ProgressTracker
    from starvsr.jobs.inputs import open_reader

    job = starvsr.prepare(clip, clip.with_name("planned.mkv"), model="bicubic")
    with open_reader(job.info, job.options) as reader:
        began = time.perf_counter()
        plan_job_parts(job, reader, 48, ProgressTracker(None, None), starvsr.CancelToken())
        return time.perf_counter() - began


def as_table(rows: dict[str, float], reference: str) -> str:
    """Write the seconds of each way as a table of Markdown, with the speed relative to one of them."""
    lines = ["| way | seconds | speed |", "| --- | --- | --- |"]
    return "\n".join(
        lines + [f"| {name} | {seconds:.1f} | {rows[reference] / seconds:.2f} |" for name, seconds in rows.items()]
    )


def main(arguments: list[str] | None = None, run: Callable[..., tuple[float, str]] = measure) -> int:
    """Measure and print; the exit status is 1 when the bytes differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process (default: 1)")
    parser.add_argument("--rounds", type=int, default=3)
    given = sys.argv[1:] if arguments is None else arguments
    end = given.index("--") if "--" in given else len(given)
    args, options = parser.parse_args(given[:end]), given[end + 1 :]
    single = f"one process, {args.threads} threads each"
    ways = {
        single: ["--threads", str(args.threads)],
        f"one process, {args.threads * args.processes} threads": ["--threads", str(args.threads * args.processes)],
        f"{args.processes} processes, {args.threads} threads each": [
            "--processes", str(args.processes), "--threads", str(args.threads),
        ],
    }  # fmt: skip
    print(f"{platform.machine()}, {allowed_processors()} processors; the least of {args.rounds} rounds", flush=True)
    seconds: dict[str, list[float]] = {}
    digests = set()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name, words in ways.items():
                taken, digest = run(args.clip, Path(folder) / "out.mkv", [*options, *words])
                seconds.setdefault(name, []).append(taken)
                digests.add(digest)
    least = {name: min(taken) for name, taken in seconds.items()}
    print(as_table(least, single))
    share = seconds_to_plan(args.clip) / least[single]
    print(f"the first pass: {share:.2%} of the time in one process; bytes {'equal' if len(digests) == 1 else 'DIFFER'}")
    return int(len(digests) > 1)


if __name__ == "__main__":
    sys.exit(main())
