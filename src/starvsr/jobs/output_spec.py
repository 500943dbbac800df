"""What the output of a job is made of."""

from __future__ import annotations

from starvsr.jobs.job import Job
from starvsr.jobs.outputs import encode_options
from starvsr.video.write.output_format import OutputFormat


def output_format(job: Job) -> OutputFormat:
    """Return the format of the output: its streams, size and encoder."""
    return OutputFormat.like(job.out, job.info, job.width, job.height, encode_options(job.options))
