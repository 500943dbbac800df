"""Run a prepared job: reader, stream, writer, comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from starvsr.errors import ResourceError
from starvsr.pipelines.api import UpscaleJob, encode_options, open_reader, processor_threads
from starvsr.pipelines.base import CancelToken, ProgressCallback, UpscaleResult, peak_memory_bytes, traits_of
from starvsr.pipelines.finish import Finish
from starvsr.pipelines.stream import Meter, StreamSettings, upscale_stream
from starvsr.video import SceneDetector, VideoWriter


def run_job(job: UpscaleJob, on_progress: ProgressCallback | None, cancel: CancelToken) -> UpscaleResult:
    """Do the job; nothing is left half written when it fails."""
    meter = Meter(on_progress, job.num_frames)
    notes: list[str] = []
    with processor_threads(job.options.threads), _memory_errors(job):
        num_frames = _write_video(job, meter, cancel, notes)
        seconds = meter.seconds
        comparison: tuple[Path, ...] = ()
        if job.options.compare:
            from starvsr.pipelines.comparison import write_comparison

            meter.tell("comparing")
            comparison = write_comparison(job, num_frames, cancel)
    meter.tell("done")
    return UpscaleResult(
        output=job.out,
        num_frames=num_frames,
        width=job.width,
        height=job.height,
        seconds=seconds,
        peak_memory=peak_memory_bytes(),
        duration=job.options.duration or job.info.duration,
        notes=tuple(notes),
        provenance=job.provenance,
        comparison=comparison,
    )


def _write_video(job: UpscaleJob, meter: Meter, cancel: CancelToken, notes: list[str]) -> int:
    options = job.options
    settings = StreamSettings(
        cut=job.cut,
        finish=Finish(
            job.width, job.height, options.color or traits_of(job.upscaler).color, keep_alpha=job.info.has_alpha
        ),
        seed=options.seed or 0,
        num_steps=job.num_steps,
        device=job.device,
    )
    with (
        closing(open_reader(job.info, options)) as reader,
        VideoWriter(
            job.out,
            source=job.info,
            width=job.width,
            height=job.height,
            options=encode_options(options),
            time_range=reader.time_range,
            overwrite=options.overwrite,
            comment=provenance_text(job),
        ) as writer,
    ):
        count = upscale_stream(
            reader,
            writer.write,
            job.upscaler,
            settings,
            detector=SceneDetector() if options.scene_cuts else None,
            meter=meter,
            cancel=cancel,
        )
        if options.on_corrupt == "error":
            reader.check_complete()
    notes += [note for note in (*reader.notes, *writer.notes) if note not in notes]
    return count


def provenance_text(job: UpscaleJob) -> str:
    """Write the provenance as one line of JSON, for a tag of the output."""
    return json.dumps(job.provenance, separators=(",", ":"), ensure_ascii=False)


@contextmanager
def _memory_errors(job: UpscaleJob) -> Iterator[None]:
    """Turn running out of memory into an error that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).split("\n", 1)[0]
        if isinstance(error, MemoryError) or "memory" in text.lower():
            raise ResourceError(
                f"out of memory with {job.cut.describe()} ({text[:100] or 'no more to be had'}): "
                "give a smaller --memory, --tile or --segment"
            ) from error
        raise
