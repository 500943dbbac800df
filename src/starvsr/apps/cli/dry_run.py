"""`starvsr upscale --dry-run`: the plan in words. Writes nothing but a trial header in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.apps.cli.info_command import facts
from starvsr.apps.cli.terminal import echo
from starvsr.jobs.disk import output_bytes
from starvsr.jobs.executors import worker_devices
from starvsr.jobs.job import Job
from starvsr.jobs.outputs import encode_options
from starvsr.quantities import format_size, format_time

if TYPE_CHECKING:
    from starvsr.jobs.photos import PhotosJob


def show_plan(job: Job | PhotosJob) -> None:
    """Print the plan of a prepared job."""
    from starvsr.jobs.photos import PhotosJob

    if isinstance(job, PhotosJob):
        _show_photos(job)
        return
    for name, value in [*facts(job.info), ("", ""), *plan_rows(job)]:
        echo(f"{name + ':':<12} {value}" if name else "")


def plan_rows(job: Job) -> list[tuple[str, str]]:
    """List the decisions of a job, as names and words."""
    rows = [
        ("output", str(job.out)),
        ("size", f"{job.width}x{job.height} ({job.scale:.4g} times{_asked(job)})"),
        ("encoding", job.encoding),
        ("model", f"{job.upscaler.name} on {_devices(job)}, {_steps(job.num_steps)}"),
        ("cut", job.plan.describe()),
        ("segments", _segments(job)),
        ("memory", _memory(job)),
        ("disk", _disk(job)),
        ("time", _time(job)),
    ]
    if "prompt" in job.traits.accepts:
        rows.insert(4, ("prompt", _prompt(job)))
    return rows + [("note", note) for note in _trial_notes(job)]


def _show_photos(job: PhotosJob) -> None:
    """Print the plan of a folder of photos: of all, then of the first."""
    echo(f"{'photos:':<12} {len(job.files)} of {job.path}, each independently (--images film makes one film of them)")
    echo(f"{'output:':<12} {job.out}, a folder of PNG files under the names of the photos")
    echo()
    for name, value in [*facts(job.first.info), *(row for row in plan_rows(job.first) if row[0] != "output")]:
        echo(f"{name + ':':<12} {value}")


def _asked(job: Job) -> str:
    target = job.options.target
    return "" if target is None else f", for {target[0]}"


def _devices(job: Job) -> str:
    """Name the device, or those of the processes that compute side by side."""
    counts = Counter(worker_devices(job.options, job.upscaler))
    words = [f"{n} processes on {name}" if n > 1 else f"a process on {name}" for name, n in counts.items()]
    return " and ".join(words) or job.device


def _memory(job: Job) -> str:
    """Say what is needed: by each of several processes."""
    count = len(worker_devices(job.options, job.upscaler))
    return f"{_memory_of_one(job)}{f', in each of {count} processes' if count else ''}"


def _memory_of_one(job: Job) -> str:
    plan = job.plan
    told = f"about {format_size(plan.memory)}"
    if plan.prediction is None:
        return told
    if plan.memory == plan.prediction.peak:  # of a device
        return f"on {job.device}, predicted: {plan.prediction.describe()}; budget {format_size(plan.budget)}"
    return f"{told}, of which the model, predicted: {plan.prediction.describe()}"


def _prompt(job: Job) -> str:
    """Say which prompt is used, and where it was found."""
    if job.prompt is None:
        return "none, the model's own" if job.options.prompt is None else f"{job.options.prompt} (--prompt)"
    if job.prompt.is_stand_in:
        return f"what `{job.prompt.given['caption']}` will print (--caption; not asked for this plan)"
    return f"{job.prompt.text} ({job.prompt.source})"


def _steps(count: int) -> str:
    return f"{count} step{'s' if count != 1 else ''}"


def _segments(job: Job) -> str:
    cuts = ", and one more at least for each scene cut" if job.options.scene_cuts else ""
    if job.num_frames is None:
        return f"one for every {job.plan.length} frames{cuts}"
    return f"{-(-job.num_frames // job.plan.length)} for {job.num_frames} frames{cuts}"


def _disk(job: Job) -> str:
    free = format_size(shutil.disk_usage(_there(job.out.resolve().parent)).free)
    if job.num_frames is None:
        return f"unknown (the number of frames is unknown), {free} free"
    size = output_bytes(job.encoding.split(",")[0], job.width, job.height, job.num_frames)
    return f"roughly {format_size(size)}, twice that until it is whole, {free} free"


def _there(folder: Path) -> Path:
    """Return a folder, or the nearest above it that is there: the folder of a numbered pattern may be new."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _time(job: Job) -> str:
    """Estimate from a small trial of the network; encoding not counted."""
    per_pixel = _seconds_per_pixel(job)
    per_frame = per_pixel * job.plan.work * job.info.width * job.info.height
    whole = "" if job.num_frames is None else f", {format_time(per_frame * job.num_frames)} in all"
    return f"roughly {per_frame:.2g} s a frame on this machine{whole} (encoding not counted)"


def _seconds_per_pixel(job: Job) -> float:
    from starvsr.apps.cli.time_estimate import NUM_FRAMES, seconds_per_pixel
    from starvsr.engine.processor import processor_threads

    side, count = min(job.info.width, job.info.height), job.traits.lengths.at_least(NUM_FRAMES)
    least = job.traits.least_side
    with processor_threads(job.options.threads), job.upscaler.open(job.settings, job.plan) as session:
        return seconds_per_pixel(session, job.num_steps, side, job.device, num_frames=count, least_side=least)


def _trial_notes(job: Job) -> list[str]:
    """Ask the writer, by way of a file that is thrown away, what it will leave out."""
    from starvsr.video import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        writer = VideoWriter(
            Path(folder) / job.out.name,
            source=job.info,
            width=job.width,
            height=job.height,
            options=encode_options(job.options),
        )
        writer.abort()
    return list(writer.notes)
