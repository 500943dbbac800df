"""Plan an archive from the records of a pilot batch: time, storage, cost, failures.

    starvsr batch pilot.jsonl -o pilot
    python -m benchmarks.cluster.archive_plan pilot --hours 10000 --workers 64 --price 0.05

Reads the records below DEST/_batch/clips. All figures are those of the pilot times the archive's hours, so the pilot
should be drawn at random from the archive and run on the machines that the archive is going to have.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Pilot:
    """What a pilot has measured.

    Args:
        clips: Clips that were tried.
        failed: Of them, given up.
        frames: Frames that were made.
        busy_seconds: Of workers, all steps.
        waiting_seconds: Of them, fetching and delivering.
        num_bytes: Of the results.
    """

    clips: int
    failed: int
    frames: int
    busy_seconds: float
    waiting_seconds: float
    num_bytes: int


def read_pilot(folder: Path) -> Pilot:
    """Read the records of a batch."""
    records: list[dict[str, Any]] = [json.loads(p.read_bytes()) for p in sorted(folder.rglob("_batch/clips/**/*.json"))]
    done = [record for record in records if record["state"] == "done"]
    if not done:
        raise SystemExit(f"{folder}: no records of finished clips: run `starvsr batch ... -o {folder}` first")
    return Pilot(
        len(records),
        sum(record["state"] == "failed" for record in records),
        sum(record["num_frames"] for record in done),
        sum(sum(record["seconds"].values()) for record in done),
        sum(record["seconds"].get(step, 0.0) for record in done for step in ("fetch", "deliver")),
        sum(record["num_bytes"] for record in done),
    )


def plan_of(pilot: Pilot, hours: float, frame_rate: float, workers: int, price: float) -> list[tuple[str, str]]:
    """Return the rows of the plan."""
    frames = hours * 3600 * frame_rate
    worker_hours = frames * pilot.busy_seconds / pilot.frames / 3600
    total_bytes = frames * pilot.num_bytes / pilot.frames
    return [
        ("pilot", f"{pilot.clips} clips, {pilot.frames} frames"),
        ("seconds of a worker for a frame", f"{pilot.busy_seconds / pilot.frames:.3f}"),
        ("of them, fetching and delivering", f"{pilot.waiting_seconds / pilot.busy_seconds:.1%}"),
        ("bytes of a frame", f"{pilot.num_bytes / pilot.frames / 1e3:.1f} KB"),
        ("clips given up", f"{pilot.failed / pilot.clips:.1%}"),
        ("frames of the archive", f"{frames:.3g} ({hours:g} h at {frame_rate:g} a second)"),
        ("hours of workers", f"{worker_hours:,.0f}"),
        (f"days with {workers} workers", f"{worker_hours / workers / 24:,.1f}"),
        ("cost", f"{worker_hours * price:,.0f} at {price:g} for an hour of a worker"),
        ("storage of the results", f"{total_bytes / 1e12:,.2f} TB"),
    ]


def main() -> int:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the destination of the pilot")
    parser.add_argument("--hours", type=float, default=10_000)
    parser.add_argument("--frame-rate", type=float, default=25)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--price", type=float, default=0.05, help="of an hour of a worker, in any currency")
    words = parser.parse_args()
    rows = plan_of(read_pilot(words.folder), words.hours, words.frame_rate, words.workers, words.price)
    print("\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
