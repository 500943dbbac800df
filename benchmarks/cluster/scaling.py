"""How a batch scales with workers: long clips in shares, each with an artificial cost, or of star-small.

    python -m benchmarks.cluster.scaling --write docs/batch.md
    python -m benchmarks.cluster.scaling --model star-small --cost 0 --workers 1 2

Efficiency is the time with one worker by the number of workers and their time; the overhead of a share is what the time
with one worker exceeds the artificial cost by. Time counts from the first order to the end of the last one: starting
workers, which happens once, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.cluster.counting_worker import NOTES
from benchmarks.cluster.slow_worker import SECONDS
from benchmarks.marked import replace_marked
from starvsr.apps.batch.engine import Engine, Worker
from starvsr.apps.batch.settings import WorkSettings

RATE = 8


@dataclass(frozen=True)
class Run:
    """One run of the batch.

    Args:
        workers: Workers.
        shares: Shares that were made, all clips together.
        seconds: From the first order to the end of the last.
        processor: Mean processor time of a share, in seconds.
    """

    workers: int
    shares: int
    seconds: float
    processor: float


def measure(clips: Path, folder: Path, workers: int, model: str, cost: float, share: float) -> Run:
    """Run the batch with so many actors on one node.

    Args:
        clips: A folder of long clips.
        folder: Where results go.
        workers: Actors.
        model: The model.
        cost: Seconds that each share takes more.
        share: Seconds of video in a share.
    """
    import ray

    from starvsr.apps.batch.locations import Location
    from starvsr.apps.batch.ray_engine import RayEngine
    from starvsr.apps.batch.run import BatchSettings, run_batch
    from starvsr.families.options import UpscaleOptions

    notes = folder / f"notes-{workers}"
    os.environ |= {NOTES: str(notes), SECONDS: str(cost), "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    options = UpscaleOptions(model=model, scale=2 if model == "bicubic" else 4, threads=1, device="cpu")
    settings = BatchSettings(
        Location.of(clips), Location.of(folder / f"out-{workers}"), options, "ray", share_seconds=share
    )

    def engine(work: WorkSettings) -> Engine:
        actors = RayEngine(work, worker="benchmarks.cluster.slow_worker:SlowWorker")
        return cast(Engine, _AllAtOnce(actors, workers))

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    try:
        counts = run_batch(
            settings,
            make_engine=engine,
        )
    finally:
        ray.shutdown()
    assert counts.failed == counts.waiting == 0
    lines = [json.loads(line) for line in notes.read_bytes().splitlines()]
    times = [line["time"] for line in lines]
    shares = sum(line["what"] == "share done" for line in lines)
    begun = [line["processor"] for line in lines if line["op"] == "share" and line["what"] == "begin"]
    ended = [line["processor"] for line in lines if line["op"] == "share" and line["what"] != "begin"]
    return Run(workers, shares, max(times) - min(times), (sum(ended) - sum(begun)) / shares)


class _AllAtOnce:
    """An engine that offers no worker before all are ready, so that none is idle while another one starts."""

    def __init__(self, engine: Engine, workers: int) -> None:
        self._engine, self._workers, self._are_ready = engine, workers, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def idle(self) -> list[Worker]:
        """Return the idle workers once all have been ready."""
        found = self._engine.idle()
        self._are_ready = self._are_ready or len(found) == self._workers
        return found if self._are_ready else []


def make_clips(folder: Path, count: int, seconds: int, side: int) -> Path:
    """Make clips of a moving pattern, all of them different."""
    import imageio_ffmpeg

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        source = f"testsrc=size={side}x{side}:rate={RATE}:duration={seconds},hue=h={30 * number}"
        words = ["-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", str(folder / f"{number}.mp4")]
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *words], check=True)
    return folder


def table_of(runs: list[Run], cost: float) -> str:
    """Return the runs as a table."""
    first = runs[0]
    rows = [
        "| cost of a share | workers | shares | time | efficiency | overhead of a share | its processor time |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        efficiency = first.seconds * first.workers / (run.seconds * run.workers)
        overhead = run.seconds * run.workers / run.shares - cost
        told = f"{1000 * overhead:.0f} ms" if cost else "-"
        numbers = f"{run.workers} | {run.shares} | {run.seconds:.1f} s | {efficiency:.3f}"
        rows.append(f"| {cost:g} s | {numbers} | {told} | {1000 * run.processor:.0f} ms |")
    return "\n".join(rows)


def main() -> int:
    """Measure by the command's words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--shares", type=int, default=6, help="of each clip")
    parser.add_argument("--cost", type=float, default=5.0, help="seconds of each share")
    parser.add_argument("--model", default="bicubic")
    parser.add_argument("--side", type=int, default=16, help="pixels of the clips")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    words = parser.parse_args()
    share = 2.0  # one part
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(prefix="starvsr-scaling-") as name:
        folder = Path(name)
        clips = make_clips(folder / "clips", words.clips, int(share) * words.shares, words.side)
        runs = [measure(clips, folder, n, words.model, words.cost, share) for n in words.workers]
    print(table_of(runs, words.cost))
    if words.write is not None:
        mark = "scaling" if words.cost else "scaling of star-small"
        replace_marked(words.write, f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->", table_of(runs, words.cost))
    return 0


if __name__ == "__main__":
    sys.exit(main())
