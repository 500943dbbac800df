"""A batch on a simulated cluster of three nodes: a node is killed, the driver is killed and started again.

    python -m benchmarks.cluster.simulation --clips 10000 --write docs/batch.md

Makes tiny clips of which one in a hundred is damaged, starts three Ray nodes with one worker each on this machine, and
runs the batch. Then it checks that every clip is in the report, that the bytes are those of ``--engine local``, that
nothing but what was being made was made again, and how much memory the driver took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cluster.counting_worker import NOTES
from benchmarks.cluster.tiny_clips import make_kinds, make_manifest
from benchmarks.marked import replace_marked

NUM_NODES = 3
DAMAGED_EACH = 100
MOST_MEGABYTES, MOST_GROWTH = 300, 10
"""Of a driver: its resident memory, and what that may grow by after its first tenth of the clips."""
_STORE_BYTES = 80 << 20


@dataclass
class Outcome:
    """What a simulation has shown.

    Args:
        clips: Clips of the batch.
        damaged: Of them, damaged ones.
        done: Clips whose record says "done".
        failed: Clips whose record says "failed".
        missing: Clips without a record, or with another state than they must have.
        tries_of_damaged: How often each damaged clip was tried, as a set.
        other_bytes: Results that differ from those of ``--engine local``, or whose record has another digest.
        workers_killed: Workers that were killed, with the node or with the driver.
        redone: Segments that were begun and had to be made again.
        done_twice: Results that were made twice although the first was delivered.
        exit_status: Of the last driver.
        last_line: What it printed.
        driver_megabytes: Most resident memory of a driver.
        driver_growth: What its resident memory grew by from a tenth of the clips that a driver found to its end, in MB;
            the larger one of both drivers.
        seconds: Of the batch, without making clips and cluster.
        overhead: Seconds of worker and driver for each clip that was done, machine and clips as they are.
    """

    clips: int
    damaged: int
    done: int = 0
    failed: int = 0
    missing: int = 0
    tries_of_damaged: tuple[int, ...] = ()
    other_bytes: int = 0
    workers_killed: int = 0
    redone: int = 0
    done_twice: int = 0
    exit_status: int | None = None
    last_line: str = ""
    driver_megabytes: float = 0.0
    driver_growth: float = 0.0
    seconds: float = 0.0
    overhead: float = 0.0


class _Driver:
    """A driver process, and the memory that it takes."""

    def __init__(self, words: list[str], environment: dict[str, str], log: Path, notes: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cluster.driver_process", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.samples: list[tuple[int, float]] = []  # clips done, MB
        self._notes = notes
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        watched = psutil.Process(self.process.pid)
        while self.process.poll() is None:
            try:
                self.samples.append((_num_done(self._notes), watched.memory_info().rss / 1e6))
            except psutil.Error:
                return
            time.sleep(0.5)

    @property
    def growth(self) -> float:
        """How much its memory grew after the first tenth of the clips that it found."""
        first, last = self.samples[0][0], self.samples[-1][0]
        settled = [megabytes for done, megabytes in self.samples if done >= first + (last - first) / 10]
        return settled[-1] - settled[0]

    def kill(self) -> None:
        """Kill it as the system does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def simulate(num_clips: int, folder: Path, *, kinds: int = 20) -> Outcome:
    """Run a simulation.

    Args:
        num_clips: Clips of the batch.
        folder: For everything.
        kinds: Different contents among the clips.
    """
    made = make_kinds(folder / "kinds", kinds)
    manifest, kind_of, damaged = make_manifest(folder / "clips", made, num_clips, DAMAGED_EACH)
    outcome = Outcome(num_clips, len(damaged))
    expected = _local_digests(folder, made)
    destination, notes = folder / "out", folder / "notes"
    began = time.monotonic()
    last = _run_with_kills(manifest, destination, notes, num_clips, outcome)
    outcome.seconds = round(time.monotonic() - began, 1)
    outcome.exit_status = last.process.returncode
    assert last.process.stdout is not None
    told = last.process.stdout.read().decode().strip()
    outcome.last_line = told.rpartition("\n")[2]  # Ray may tell of dead nodes before it
    _judge_records(destination, kind_of, damaged, expected, outcome)
    _judge_notes(notes, outcome)
    return outcome


def _local_digests(folder: Path, kinds: list[Path]) -> dict[str, str]:
    """Return the digest of what ``starvsr batch --engine local`` makes of each kind."""
    words = [sys.executable, "-m", "starvsr", "batch", str(folder / "kinds"), "-o", str(folder / "local")]
    words += ["--model", "bicubic", "--scale", "2", "--threads", "1", "--quiet"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    records = [json.loads(path.read_bytes()) for path in (folder / "local/_batch/clips").glob("*.json")]
    assert len(records) == len(kinds)
    return {Path(record["input"]).name: record["sha256"] for record in records}


def _run_with_kills(manifest: Path, destination: Path, notes: Path, num_clips: int, outcome: Outcome) -> _Driver:
    """Run the batch; kill a node at 30 % and the driver at 60 % of the clips."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own spelling
    os.environ[NOTES] = str(notes)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        others = [cluster.add_node(**node) for _ in range(NUM_NODES - 1)]
        cluster.wait_for_nodes()
        words = [str(manifest), str(destination), cluster.address]
        log = destination.parent / "driver.log"
        driver = _Driver(words, dict(os.environ), log, notes)
        _await_done(driver, notes, num_clips * 3 // 10)
        cluster.remove_node(others[0], allow_graceful=False)
        outcome.workers_killed += 1
        _await_done(driver, notes, num_clips * 6 // 10)
        driver.kill()
        outcome.workers_killed += NUM_NODES - 1
        first = driver
        driver = _Driver(words, dict(os.environ), log, notes)
        driver.process.wait()
        outcome.driver_megabytes = round(max(megabytes for _, megabytes in [*first.samples, *driver.samples]), 1)
        outcome.driver_growth = round(max(first.growth, driver.growth), 1)
        return driver
    finally:
        cluster.shutdown()


def _await_done(driver: _Driver, notes: Path, count: int) -> None:
    while _num_done(notes) < count:
        if driver.process.poll() is not None:
            raise RuntimeError(f"the driver ended before its time, with {driver.process.returncode}: see driver.log")
        time.sleep(0.1)


def _num_done(notes: Path) -> int:
    return notes.read_bytes().count(b'"what": "done"') if notes.exists() else 0


def _judge_records(
    destination: Path, kind_of: dict[str, str], damaged: set[str], expected: dict[str, str], outcome: Outcome
) -> None:
    import hashlib

    tries: set[int] = set()
    for output in [*kind_of, *damaged]:
        path = destination / "_batch" / "clips" / f"{output}.json"
        record: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {"state": "none"}
        wanted = "failed" if output in damaged else "done"
        outcome.done += record["state"] == "done"
        outcome.failed += record["state"] == "failed"
        outcome.missing += record["state"] != wanted
        if output in damaged:
            tries.add(record.get("tries", 0))
            continue
        result = destination / output
        digest = hashlib.sha256(result.read_bytes()).hexdigest() if result.exists() else ""
        outcome.other_bytes += not digest == record.get("sha256") == expected[kind_of[output]]
    outcome.tries_of_damaged = tuple(sorted(tries))


def _judge_notes(notes: Path, outcome: Outcome) -> None:
    """Count what was begun and not ended: the work that kills have cost."""
    lines = [json.loads(line) for line in notes.read_bytes().splitlines()]
    begun = Counter(line["output"] for line in lines if line["what"] == "begin")
    ended = Counter(line["output"] for line in lines if line["what"] != "begin")
    done = Counter(line["output"] for line in lines if line["what"] == "done")
    outcome.redone = sum(count - ended[output] for output, count in begun.items())
    outcome.done_twice = sum(count - 1 for count in done.values())
    outcome.overhead = round(outcome.seconds / max(1, len(done)), 3)


def table_of(outcome: Outcome) -> str:
    """Return the outcome as a table."""
    rows = [
        ("clips, of which damaged", f"{outcome.clips}, {outcome.damaged}"),
        ("done, failed, without an end", f"{outcome.done}, {outcome.failed}, {outcome.missing}"),
        ("tries of the damaged ones", ", ".join(map(str, outcome.tries_of_damaged))),
        ("results other than those of `--engine local`", str(outcome.other_bytes)),
        ("workers killed (one with its node, the others with the driver)", str(outcome.workers_killed)),
        ("segments lost with them and begun again (at most one with each)", str(outcome.redone)),
        ("segments made again although they were delivered (none may be)", str(outcome.done_twice)),
        ("last line of the second driver", f"`{outcome.last_line}`, exit status {outcome.exit_status}"),
        (f"driver's memory at most (bound: {MOST_MEGABYTES} MB)", f"{outcome.driver_megabytes:.0f} MB"),
        (
            f"its growth from the first tenth of its clips to its end (bound: {MOST_GROWTH} MB)",
            f"{outcome.driver_growth:+.1f} MB",
        ),
        ("time", f"{outcome.seconds:.0f} s, {outcome.overhead:.3f} s a clip"),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def broken_promises(outcome: Outcome) -> list[str]:
    """Say what an outcome shows that must not be; empty when all is well."""
    done, damaged = outcome.clips - outcome.damaged, outcome.damaged
    checks = [
        (outcome.missing == 0, f"{outcome.missing} clips have no record or another end than they must have"),
        ((outcome.done, outcome.failed) == (done, damaged), f"{outcome.done} done, {outcome.failed} failed"),
        (outcome.tries_of_damaged == (3,), f"damaged clips were tried {outcome.tries_of_damaged} times"),
        (outcome.other_bytes == 0, f"{outcome.other_bytes} results differ from those of --engine local"),
        (outcome.redone <= outcome.workers_killed, f"{outcome.redone} segments for {outcome.workers_killed} kills"),
        (outcome.done_twice == 0, f"{outcome.done_twice} segments were made again although they were delivered"),
        (outcome.driver_megabytes <= MOST_MEGABYTES, f"the driver took {outcome.driver_megabytes} MB"),
        (outcome.driver_growth <= MOST_GROWTH, f"the driver's memory grew by {outcome.driver_growth} MB"),
        (outcome.exit_status == 1, f"the last driver ended with {outcome.exit_status}, not 1"),
        (outcome.last_line == f"{done} done, 0 left, {damaged} failed", f"it said: {outcome.last_line}"),
    ]
    return [text for holds, text in checks if not holds]


def main() -> int:
    """Run a simulation by the command's words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--folder", type=Path, help="for clips and results (default: a temporary one)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table into a page")
    words = parser.parse_args()
    folder = words.folder or Path(tempfile.mkdtemp(prefix="starvsr-cluster-"))
    try:
        outcome = simulate(words.clips, folder.absolute())
    finally:
        if words.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(asdict(outcome)) if words.json else table_of(outcome))
    if words.write is not None:
        replace_marked(words.write, "<!-- cluster:begin -->", "<!-- cluster:end -->", table_of(outcome))
    broken = broken_promises(outcome)
    print("\n".join(broken), end="\n" * bool(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
