"""A batch from its source to its summary: read, look at everything first, run, sum up. Prints nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from starvsr.apps.batch.clip_queue import ClipQueue, Counts
from starvsr.apps.batch.clips import RECORDS, plain_options
from starvsr.apps.batch.driver import BatchProgress, Driver
from starvsr.apps.batch.engine import Engine
from starvsr.apps.batch.figures import metric_names
from starvsr.apps.batch.locations import Location
from starvsr.apps.batch.manifest import read_clips
from starvsr.apps.batch.preflight import check_destination, check_outputs, look_with_torch
from starvsr.apps.batch.records import read_standings
from starvsr.apps.batch.scratch import check_scratch
from starvsr.apps.batch.settings import Bound, WorkSettings
from starvsr.apps.batch.summary import write_summary
from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.lock import JobLock
from starvsr.version import __version__

SHARE_SECONDS = 300.0


@dataclass(frozen=True)
class BatchSettings:
    """What a batch is.

    Args:
        source: Manifest, folder, prefix or video.
        destination: Folder or prefix that results go to.
        options: Of all clips; device, devices, threads and overwrite hold for the batch.
        engine: "local" or "ray".
        address: Of a Ray cluster; None starts one here.
        workers: Processes on the processor of this machine, or at most so many actors on each node; None: one process,
            or as many as a node's GPUs or processors allow.
        scratch: Folder for unfinished work; None: in the destination, or below the system's folder for temporary files.
        shared_scratch: Whether all nodes of a cluster see the folder of ``scratch``.
        share_seconds: Length of the shares that long clips are cut into.
        metrics: What is measured on results.
        bounds: What marks clips for review.
        retry_failed: Try clips again that earlier runs gave up.
        dry_run: Look at everything and do nothing.
    """

    source: Location
    destination: Location
    options: UpscaleOptions
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int | None = None
    scratch: Path | None = None
    shared_scratch: bool = False
    share_seconds: float = SHARE_SECONDS
    metrics: tuple[str, ...] = ()
    bounds: tuple[Bound, ...] = ()
    retry_failed: bool = False
    dry_run: bool = False


def run_batch(
    settings: BatchSettings,
    *,
    on_progress: Callable[[BatchProgress], None] = lambda progress: None,
    on_event: Callable[[str], None] = lambda text: None,
    make_engine: Callable[[WorkSettings], Engine] | None = None,
) -> Counts:
    """Run a batch, or what earlier runs have left of it.

    Args:
        settings: The batch.
        on_progress: Called about once a second.
        on_event: Called with sentences for people.
        make_engine: Makes another engine than the settings name.

    Returns:
        Clips by state, those of earlier runs included.

    Raises:
        StarVsrError: The batch cannot be begun, or not be continued; what is finished stays recorded.
    """
    began = time.time()
    with contextlib.closing(ClipQueue()) as queue, _locked(settings):
        queue.add(read_clips(settings.source, settings.options))
        queue.take_over(read_standings(settings.destination), retry_failed=settings.retry_failed)
        counts = queue.counts
        on_event(f"{counts.total} clips: {counts.done} done, {counts.waiting} to do, {counts.failed} failed before")
        if not counts.waiting:
            return counts
        work, gpus = _looked_at(settings, queue)
        if settings.dry_run:
            return counts
        engine = make_engine(work) if make_engine is not None else _engine(settings, work, gpus)
        driver = Driver(queue, engine, settings.destination, on_progress=on_progress, on_event=on_event)
        try:
            with contextlib.closing(engine):
                engine.start()
                counts = driver.run()
        finally:
            facts: dict[str, Any] = {
                "source": str(settings.source),
                "engine": settings.engine,
                "began": round(began),
                "seconds": round(time.time() - began, 1),
                "lost_workers": driver.num_lost,
                "software": f"starvsr {__version__}",
            }
            write_summary(queue, settings.destination, facts)
    return counts


def _looked_at(settings: BatchSettings, queue: ClipQueue) -> tuple[WorkSettings, list[str | None]]:
    """Check everything that can be checked before a worker starts."""
    check_destination(settings.destination)
    metrics = metric_names(settings.metrics, settings.bounds)
    combinations = list(queue.distinct_options())
    check_outputs(combinations)
    options = settings.options
    found = look_with_torch(combinations, options.device, options.devices, metrics, settings.bounds)
    scratch = settings.scratch or default_scratch(settings.destination)
    check_scratch(scratch)
    is_shared = settings.engine == "local" or settings.shared_scratch or _is_below(scratch, settings.destination)
    work = WorkSettings(
        destination=str(settings.destination),
        scratch=str(scratch),
        device=_device_word(options),
        threads=options.threads,
        metrics=metrics,
        bounds=settings.bounds,
        overwrite=options.overwrite,
        share_seconds=settings.share_seconds if is_shared else None,
        warm_up=plain_options(options) if not combinations else combinations[0][0],
    )
    return work, found["gpus"]


def _device_word(options: UpscaleOptions) -> str:
    """Return the device that each worker names: which one of several it sees is told by its environment."""
    if options.devices is not None:
        return "auto"
    return "cuda" if options.device.startswith("cuda") else options.device


def _engine(settings: BatchSettings, work: WorkSettings, gpus: list[str | None]) -> Engine:
    if settings.engine == "ray":
        if settings.options.devices is not None:
            raise OptionError("--devices is for --engine local: a Ray cluster knows the devices of its nodes")
        from starvsr.apps.batch.ray_engine import RayEngine

        return RayEngine(work, settings.address, settings.workers)
    from starvsr.apps.batch.local_engine import LocalEngine

    if settings.workers is not None:
        gpus = gpus * settings.workers if all(gpu is None for gpu in gpus) else gpus[: settings.workers]
    return LocalEngine(work, gpus)


def default_scratch(destination: Location) -> Path:
    """Return the folder for unfinished work: always the same for one destination, so that the next run finds it."""
    if destination.is_local:
        return destination.path / RECORDS / "scratch"
    name = hashlib.sha256(str(destination).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"starvsr-batch-{os.getuid() if hasattr(os, 'getuid') else 0}-{name}"


def _is_below(scratch: Path, destination: Location) -> bool:
    return destination.is_local and Path(os.path.abspath(scratch)).is_relative_to(destination.path)


@contextlib.contextmanager
def _locked(settings: BatchSettings) -> Iterator[None]:
    """Keep a second driver of this machine away from a destination on a disk."""
    if not settings.destination.is_local or settings.dry_run:
        yield
        return
    from starvsr.video.write.publish import as_output_error

    path = settings.destination.path / RECORDS / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JobLock(path)
    except OSError as error:
        raise as_output_error(settings.destination.path, error) from None
    try:
        yield
    finally:
        lock.release()
