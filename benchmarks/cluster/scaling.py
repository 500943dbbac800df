"""How a batch scales with workers: long clips in shares, each with an artificial cost, or of star-small.

    python -m benchmarks.cluster.scaling --write docs/batch.md
    python -m benchmarks.cluster.scaling --model star-small --cost 0 --side 64 --clips 6 --workers 1 2

Efficiency is the time with one worker by the number of workers and their time. Time counts from the first order to the
end of the last one, planning and joining included: starting workers, which happens once, is left out. Where the time
of the workers goes beside their shares is told by `benchmarks.cluster.timeline`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from benchmarks.cluster.counting_worker import NOTES
from benchmarks.cluster.slow_worker import SECONDS
from benchmarks.cluster.timeline import Timeline, read_timeline
from benchmarks.marked import replace_marked
from starvsr.apps.batch.engine import Engine, Worker
from starvsr.apps.batch.settings import WorkSettings

RATE = 8
SHARE_SECONDS = 2  # of video: one part


def measure(clips: Path, folder: Path, workers: int, model: str, cost: float) -> Timeline:
    """Run the batch with so many actors on one node.

    Args:
        clips: A folder of long clips.
        folder: Where results go.
        workers: Actors.
        model: The model.
        cost: Seconds that each share takes more.
    """
    import ray

    from starvsr.apps.batch.locations import Location
    from starvsr.apps.batch.ray_engine import RayEngine
    from starvsr.apps.batch.run import BatchSettings, run_batch
    from starvsr.families.options import UpscaleOptions

    notes = folder / f"notes-{workers}"
    os.environ |= {NOTES: str(notes), SECONDS: str(cost), "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    options = UpscaleOptions(model=model, scale=2 if model == "bicubic" else 4, threads=1, device="cpu")
    out = Location.of(folder / f"out-{workers}")
    settings = BatchSettings(Location.of(clips), out, options, "ray", share_seconds=float(SHARE_SECONDS))

    def engine(work: WorkSettings) -> Engine:
        actors = RayEngine(work, worker="benchmarks.cluster.slow_worker:SlowWorker")
        return cast(Engine, _AllAtOnce(actors, workers))

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    try:
        counts = run_batch(settings, make_engine=engine)
    finally:
        ray.shutdown()
    assert counts.failed == counts.waiting == 0
    return read_timeline(notes)


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


def table_of(runs: list[Timeline], cost: float) -> str:
    """Return the runs as a table.

    Args:
        runs: The first one is what the others are compared with.
        cost: Artificial seconds of a share.
    """
    first, named = runs[0], [(f"{run.workers} worker{'s' * (run.workers > 1)}", run) for run in runs]
    rows = [
        ("shares", [f"{run.num_shares}" for run in runs]),
        ("time", [f"{run.seconds:.1f} s" for run in runs]),
        ("efficiency", [f"{first.seconds * first.workers / (run.seconds * run.workers):.3f}" for run in runs]),
        (
            f"a share beside its {cost:g} s" if cost else "a share",
            [f"{1000 * (run.share.seconds - cost):.0f} ms" for run in runs],
        ),
        ("its processor time", [f"{1000 * run.share.processor:.0f} ms" for run in runs]),
        ("planning of a clip", [f"{1000 * run.plan.seconds:.0f} ms" for run in runs]),
        ("joining and delivery of a clip", [f"{1000 * run.join.seconds:.0f} ms" for run in runs]),
        ("a worker between two orders", [f"{1000 * run.between:.0f} ms" for run in runs]),
        ("a worker after its last order", [f"{run.after:.1f} s" for run in runs]),
    ]
    head = ["", *(name for name, _ in named)]
    lines = [head, ["---", *["---:"] * len(runs)], *([name, *values] for name, values in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Measure by the command's words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--shares", type=int, default=8, help="of each clip")
    parser.add_argument("--cost", type=float, default=5.0, help="seconds of each share")
    parser.add_argument("--model", default="bicubic")
    parser.add_argument("--side", type=int, default=16, help="pixels of the clips")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    words = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(prefix="starvsr-scaling-") as name:
        folder = Path(name)
        clips = make_clips(folder / "clips", words.clips, SHARE_SECONDS * words.shares, words.side)
        runs = [measure(clips, folder, n, words.model, words.cost) for n in words.workers]
    table = table_of(runs, words.cost)
    print(table)
    if words.write is not None:
        mark = "scaling" if words.cost else f"scaling of {words.model}"
        replace_marked(words.write, f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
