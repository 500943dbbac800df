"""Run a prepared job: the parts, the output, the comparison."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starvsr.engine.executor import Executor
from starvsr.engine.processor import processor_threads
from starvsr.engine.progress import CancelToken, ProgressCallback, ProgressTracker, UpscaleResult
from starvsr.errors import ResourceError
from starvsr.jobs.job import Job
from starvsr.jobs.opening import open_work
from starvsr.jobs.provenance import provenance_of


def run_job(
    job: Job, on_progress: ProgressCallback | None, cancel: CancelToken, executor: Executor | None = None
) -> UpscaleResult:
    """Do the job; when it fails, finished parts stay in its folder and nothing under the output's name.

    Args:
        job: The job.
        on_progress: Called with `Progress`, often.
        cancel: Looked at often.
        executor: Renders the segments, and stays open; None opens what the options name.
    """
    tracker = ProgressTracker(on_progress, job.num_frames)
    with processor_threads(job.options.threads), memory_errors(job):
        with open_work(job) as work:
            num_frames, notes = work.run(tracker, cancel, executor)
            seconds = tracker.seconds
        comparison: tuple[Path, ...] = ()
        if job.options.compare:
            from starvsr.jobs.comparison import write_comparison

            tracker.report("comparing")
            comparison = write_comparison(job, num_frames, cancel)
    tracker.report("done")
    return UpscaleResult(
        output=job.out,
        num_frames=num_frames,
        width=job.width,
        height=job.height,
        seconds=seconds,
        peak_memory=tracker.peak_memory,
        duration=job.options.duration or job.info.duration,
        notes=(*_size_notes(job), *_prompt_notes(job), *notes, *work.late_notes, *work.model_notes),
        provenance=provenance_of(job),
        comparison=comparison,
        num_kept=work.num_kept,
    )


def _size_notes(job: Job) -> list[str]:
    if job.width >= job.info.width and job.height >= job.info.height:
        return []
    sizes = f"{job.info.width}x{job.info.height} became {job.width}x{job.height}"
    return [f"{job.out.name}: smaller than the input: {sizes}, as requested"]


def _prompt_notes(job: Job) -> list[str]:
    return [] if job.prompt is None else [job.prompt.note]


@contextmanager
def memory_errors(job: Job) -> Iterator[None]:
    """Turn running out of memory into an error that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        text = str(error).split("\n", 1)[0]
        refused = getattr(error, "errno", None) in (errno.ENOMEM, errno.EAGAIN) or "start new thread" in text
        if isinstance(error, MemoryError) or refused or "memory" in text.lower():
            raise ResourceError(
                f"out of memory with {job.plan.describe()} ({text[:100] or 'no more is available'}): "
                "give a smaller --memory, --tile or --segment"
            ) from error
        raise
