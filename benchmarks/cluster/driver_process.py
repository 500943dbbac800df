"""The driver of a simulation, as `starvsr batch` runs it, with workers that take notes.

python -m benchmarks.cluster.driver_process MANIFEST DESTINATION ADDRESS
"""

from __future__ import annotations

import sys

from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.ray_engine import RayEngine
from starvsr.apps.batch.run import BatchSettings, run_batch
from starvsr.apps.batch.settings import WorkSettings
from starvsr.apps.batch.summary import told
from starvsr.apps.cli.batch_progress import describe_batch
from starvsr.families.options import UpscaleOptions


def main() -> int:
    """Run the batch; the exit status is that of the command."""
    manifest, destination, address = sys.argv[1:]
    options = UpscaleOptions(model="bicubic", scale=2, threads=1)
    settings = BatchSettings(Location.of(manifest), Location.of(destination), options, "ray", address)

    def engine(work: WorkSettings) -> RayEngine:
        return RayEngine(work, address, worker="benchmarks.cluster.counting_worker:CountingWorker")

    counts = run_batch(
        settings,
        on_progress=lambda report: print(describe_batch(report), file=sys.stderr, flush=True),
        on_event=lambda text: print(text, file=sys.stderr, flush=True),
        make_engine=engine,
    )
    print(told(counts))
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
