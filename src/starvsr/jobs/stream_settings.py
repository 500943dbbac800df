"""What is done with the frames of a job between its reader and its encoder."""

from __future__ import annotations

from starvsr.engine.render import Finish
from starvsr.engine.segment_task import RenderSettings
from starvsr.engine.stream import StreamSettings
from starvsr.families.job_settings import blended_detail
from starvsr.jobs.job import Job
from starvsr.jobs.model_reference import reference_of


def stream_settings(job: Job, input_sha256: str | None) -> StreamSettings:
    """Return how the segments of a job are rendered and its frames finished.

    Args:
        job: The job.
        input_sha256: Fingerprint of its input; None where it has none.
    """
    return StreamSettings(
        RenderSettings(job.plan, job.settings, job.traits, reference_of(job.upscaler), input_sha256),
        Finish(
            job.width,
            job.height,
            job.options.color or job.traits.color,
            keep_alpha=job.info.has_alpha,
            detail=blended_detail(job.upscaler, job.options),
            sharpen=job.traits.sharpen if job.options.sharpen is None else job.options.sharpen,
        ),
        finish_behind=job.device != "cpu",
    )
