"""What the stream of a job is fed with: frames from any place on, and the settings of the plan."""

from __future__ import annotations

from collections.abc import Iterator

from starvsr.engine.finish import Finish
from starvsr.engine.stream import Frame, StreamSettings
from starvsr.jobs.job import Job
from starvsr.video import SceneDetector, VideoReader


def frames_from(
    reader: VideoReader, first: int, detector: SceneDetector | None, cuts: frozenset[int]
) -> Iterator[Frame]:
    """Read from a frame on, with a detector that answers as if it had seen all frames before.

    Args:
        reader: The input.
        first: Index of the first frame wanted.
        detector: A fresh detector.
        cuts: The cuts before ``first``.
    """
    skip = max(0, first - detector.warm_up) if detector is not None else first
    for frame in reader.read(skip=skip):
        if frame.index >= first:
            yield frame
        elif detector is not None:
            detector.replay(frame.pixels, frame.index in cuts)


def settings_of(job: Job) -> StreamSettings:
    """Return what the stream does with the frames of a job."""
    color = job.options.color or job.traits.color
    return StreamSettings(
        plan=job.plan,
        finish=Finish(job.width, job.height, color, keep_alpha=job.info.has_alpha),
        scale=job.settings.scale,
        traits=job.traits,
        device=job.device,
    )
