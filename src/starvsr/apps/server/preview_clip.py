"""A look at a few seconds, made by a worker: two videos that browsers play, and what the whole would take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starvsr.apps.server.preview_frames import blends_frames
from starvsr.engine.progress import CancelToken, Progress
from starvsr.jobs.job import Job


def write_preview_clip(
    job: Job, at: float, seconds: float, on_progress: Callable[[Progress], None], cancel: CancelToken
) -> dict[str, Any]:
    """Upscale a few seconds of a job into ``before.mp4`` and ``after.mp4`` (or ``after.webm``) beside its output.

    The result is first written as the whole job would be, which is what takes the time that is told; where not every
    browser plays that, a copy takes its place. Where `--detail` blends the model's result with the enlargement, it is
    the model's result alone, so that a player can show any share of it.

    Args:
        job: The whole job, prepared and not begun.
        at: Seconds from the start of the clip.
        seconds: Length.
        on_progress: Told how far the result is.
        cancel: Looked at often.

    Raises:
        StarVsrError: There is nothing there, or an option cannot be honoured.
    """
    from starvsr.previewing import preview_clip

    blends = blends_frames(job.upscaler)
    values: dict[str, Any] = {"detail": None} if blends else {}
    made = preview_clip(job, at, seconds, values=values, on_progress=on_progress, cancel=cancel)
    has_sound = _play_anywhere(made.after)
    return {
        "times": [float(made.start)],
        "frame_rate": str(job.info.frame_rate),
        "blends": blends,
        "sound": has_sound,
        "width": job.width,
        "height": job.height,
        "num_frames": made.num_frames,
        "num_kept": 0,
        "seconds": made.seconds_per_frame * made.num_frames,
        "seconds_per_frame": made.seconds_per_frame,
        "estimated_seconds": made.estimated_seconds,
        "memory": job.plan.memory,
        "notes": [],
    }


def _play_anywhere(after: Path) -> bool:
    """Put a copy in the place of a video that not all browsers play; say whether there is sound."""
    from starvsr.video.playable import plays_anywhere, write_playable
    from starvsr.video.untrusted.isolation.parent import probe_isolated
    from starvsr.video.untrusted.limits import OWN_FILES

    info = probe_isolated(after, limits=OWN_FILES)
    has_sound = any(stream.kind == "audio" for stream in info.streams)
    if not plays_anywhere(info):
        copy = write_playable(info, after.with_name("copy"), sound=True)
        after.unlink()
        copy.path.replace(after.with_suffix(copy.path.suffix))
    return has_sound
