"""How many frames a job computes: those of its segments with their context, as the job itself plans them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.segments import plan_segments
from starvsr.jobs.inputs import open_reader
from starvsr.jobs.job import Job
from starvsr.video import SceneDetector

_PATIENCE = 20.0


def count_computed(job: Job, patience: float = _PATIENCE) -> int | None:
    """Return the frames that the model will compute for a job.

    The input is looked at for scene cuts, as the job does before its work. Where that takes too long, the cuts that
    were seen stand for the rest.

    Args:
        job: The job, not begun.
        patience: Seconds of looking.

    Returns:
        Frames; None where looking took too long and the length of the clip is not known.
    """
    detector = SceneDetector() if job.options.scene_cuts else None
    cuts: list[int] = []
    end = time.monotonic() + patience
    count = 0
    with closing(open_reader(job.info, job.options)) as reader:
        for frame in reader:
            if detector is not None and detector.is_cut(frame.pixels):
                cuts.append(frame.index)
            count = frame.index + 1
            if time.monotonic() > end:
                return None if job.num_frames is None else computed(job.plan, *_continued(cuts, count, job.num_frames))
    return computed(job.plan, count, cuts)


def _continued(cuts: list[int], count: int, num_frames: int) -> tuple[int, list[int]]:
    """Return the number of all frames, and the cuts of the first ``count`` again and again until there."""
    whole = max(count, num_frames)
    return whole, [cut + begin for begin in range(0, whole, count) for cut in cuts if cut + begin < whole]


def computed(plan: ChunkPlan, num_frames: int, cuts: Iterable[int] = ()) -> int:
    """Return the frames of all segments of so many frames with cuts, their context counted as often as it is seen."""
    segments = plan_segments(
        num_frames, plan.length, plan.overlap, plan.crossfade, cuts, plan.overlap_after, plan.multiple
    )
    return sum(segment.stop - segment.start for segment in segments)
