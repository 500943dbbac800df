"""`starvsr upscale --dry-run`: the plan in words. Writes nothing but a trial header in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from starvsr.apps.cli.info_command import facts
from starvsr.apps.cli.words import echo
from starvsr.pipelines.api import UpscaleJob, encode_options
from starvsr.pipelines.jobs.disk import output_bytes
from starvsr.pipelines.quantities import format_size, format_time

_TRIAL_SIDE, _TRIAL_FRAMES = 64, 4


def show_plan(job: UpscaleJob) -> None:
    """Print the plan of a prepared job."""
    for name, value in [*facts(job.info), ("", ""), *plan_rows(job)]:
        echo(f"{name + ':':<12} {value}" if name else "")


def plan_rows(job: UpscaleJob) -> list[tuple[str, str]]:
    """List the decisions of a job, as names and words."""
    rows = [
        ("output", str(job.out)),
        ("size", f"{job.width}x{job.height} ({job.options.scale:g} times)"),
        ("encoding", job.encoding),
        ("model", f"{job.upscaler.name} on {job.device}, {_steps(job.num_steps)}"),
        ("cut", job.cut.describe()),
        ("segments", _segments(job)),
        ("memory", f"about {format_size(job.cut.memory)}"),
        ("disk", _disk(job)),
        ("time", _time(job)),
    ]
    return rows + [("note", note) for note in _trial_notes(job)]


def _steps(count: int) -> str:
    return f"{count} step{'s' if count != 1 else ''}"


def _segments(job: UpscaleJob) -> str:
    cuts = ", and one more at least for each scene cut" if job.options.scene_cuts else ""
    if job.num_frames is None:
        return f"one for every {job.cut.length} frames{cuts}"
    return f"{-(-job.num_frames // job.cut.length)} for {job.num_frames} frames{cuts}"


def _disk(job: UpscaleJob) -> str:
    free = format_size(shutil.disk_usage(job.out.resolve().parent).free)
    if job.num_frames is None:
        return f"unknown (the number of frames is unknown), {free} free"
    size = output_bytes(job.encoding.split(",")[0], job.width, job.height, job.num_frames)
    return f"roughly {format_size(size)}, twice that until it is whole, {free} free"


def _time(job: UpscaleJob) -> str:
    """Estimate from a small trial of the network; encoding not counted."""
    per_pixel = _seconds_per_pixel(job)
    per_frame = per_pixel * job.cut.work * job.info.width * job.info.height
    whole = "" if job.num_frames is None else f", {format_time(per_frame * job.num_frames)} in all"
    return f"roughly {per_frame:.2g} s a frame on this machine{whole} (encoding not counted)"


def _seconds_per_pixel(job: UpscaleJob) -> float:
    import torch

    from starvsr.pipelines.api import processor_threads

    side = min(_TRIAL_SIDE, job.info.width, job.info.height)
    lq = torch.zeros(1, 3, _TRIAL_FRAMES, side, side, device=job.device)
    with torch.inference_mode(), processor_threads(job.options.threads):
        best = float("inf")
        for _ in range(2):
            began = time.perf_counter()
            job.upscaler.upscale_clip(lq, seed=0, first_frame=0, num_steps=job.num_steps)
            best = min(best, time.perf_counter() - began)
    return best / (_TRIAL_FRAMES * side * side)


def _trial_notes(job: UpscaleJob) -> list[str]:
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
