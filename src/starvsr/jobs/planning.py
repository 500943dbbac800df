"""The first pass over an input: counts frames and finds scene cuts, so that all work is planned before it begins."""

from __future__ import annotations

import time

from starvsr.engine.progress import CancelToken, ProgressTracker
from starvsr.engine.stream import READ_AHEAD
from starvsr.engine.threads import ReadAhead
from starvsr.jobs.job import Job
from starvsr.jobs.part_plan import PartPlan
from starvsr.video import SceneDetector, VideoReader

_SILENT = 2.0  # seconds that the pass may take without a report
_REPORT_EVERY = 0.1


def plan_job_parts(
    job: Job, reader: VideoReader, part_frames: int, tracker: ProgressTracker, cancel: CancelToken
) -> PartPlan:
    """Plan the segments and parts of a job; reads the input from beginning to end, one frame at a time.

    Args:
        job: The job.
        reader: Its input.
        part_frames: Frames from which on a part is closed.
        tracker: Told how many frames were looked at, where that takes longer than a moment.
        cancel: Looked at for each frame.

    Raises:
        InputError: The input is damaged or incomplete, and damaged frames are not to be skipped.
        Cancelled: ``cancel`` was called.
    """
    if job.info.kind == "image":
        return PartPlan.of(1, (), job.plan, part_frames, reader.notes)
    detector = SceneDetector() if job.options.scene_cuts else None
    cuts = []
    last_report = time.monotonic()
    with ReadAhead(reader.read(), READ_AHEAD, cancel) as frames:
        for frame in frames:
            if detector is not None and detector.is_cut(frame.pixels):
                cuts.append(frame.index)
            now = time.monotonic()
            if tracker.seconds > _SILENT and now - last_report > _REPORT_EVERY:
                tracker.report("planning", num_planned=frame.index + 1)
                last_report = now
    if job.options.on_corrupt == "error":
        reader.check_complete()
    return PartPlan.of(reader.num_frames_read, cuts, job.plan, part_frames, reader.notes)
