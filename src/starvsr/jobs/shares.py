"""Let several workers make the parts of one job: a plan, shares of it, and a join at the end.

For workers that see the same job folder (one machine, or a network file system with ``flock``). One call of
`plan_shares` writes the plan; each share, a run of neighbouring parts, is made by `make_share` under a lock and with a
journal of its own; running the job as always then finds all parts made and joins them. Whatever is missing by then is
made there, so a lost share costs time and nothing else. The output is the same as without shares: parts follow from the
plan, never from who makes them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from starvsr.engine.processor import processor_threads
from starvsr.engine.progress import CancelToken, ProgressCallback, ProgressTracker
from starvsr.errors import JobError
from starvsr.jobs.fingerprint import marks
from starvsr.jobs.inputs import open_reader
from starvsr.jobs.job import Job
from starvsr.jobs.journal import Journal, read_journal
from starvsr.jobs.lock import JobLock
from starvsr.jobs.manifest import differences, plan_of, refuse_changes
from starvsr.jobs.manifest_file import read_plan
from starvsr.jobs.opening import open_locked
from starvsr.jobs.part_plan import PartPlan
from starvsr.jobs.part_plan_file import read_part_plan
from starvsr.jobs.state import JobState
from starvsr.jobs.work import JobWork


@dataclass(frozen=True)
class Shares:
    """How a job is cut into shares.

    Args:
        num_shares: All shares.
        missing: Numbers of those with parts that are not made yet.
        num_frames: Frames of the job.
    """

    num_shares: int
    missing: tuple[int, ...]
    num_frames: int


def shares_of(plan: PartPlan, share_frames: int) -> list[range]:
    """Group the parts of a plan into shares: runs of parts with ``share_frames`` frames or a little more.

    A share begins by reading the input from its first frame, so shares that are too short waste time on reading.
    """
    if share_frames < 1:
        raise ValueError("a share has one frame at least")
    shares: list[range] = []
    begin = 0
    for part in plan.parts:
        if part.stop - plan.parts[begin].start >= share_frames or part.index + 1 == len(plan.parts):
            shares.append(range(begin, part.index + 1))
            begin = part.index + 1
    return shares


def plan_shares(
    job: Job, share_frames: int, *, on_progress: ProgressCallback | None = None, cancel: CancelToken | None = None
) -> Shares:
    """Begin a job, or open what an interrupted one has left, and write its plan; makes no part.

    Args:
        job: The job.
        share_frames: Frames of a share, at least.
        on_progress: Called with `Progress` where reading the input takes longer than a moment.
        cancel: Looked at for each frame.

    Raises:
        StarVsrError: As running the job raises.
    """
    folder = job.folder
    folder.create()
    lock = JobLock(folder.lock)
    try:
        work = open_locked(job, folder)
        with contextlib.closing(work), contextlib.closing(open_reader(job.info, job.options)) as reader:
            plan = work.planned(reader, ProgressTracker(on_progress, job.num_frames), cancel or CancelToken())
    finally:
        lock.release()
    state = JobState(read_journal(folder.journal)[0])
    shares = shares_of(plan, share_frames)
    missing = tuple(n for n, parts in enumerate(shares) if any(index not in state.parts for index in parts))
    return Shares(len(shares), missing, plan.num_frames)


def make_share(
    job: Job,
    share_frames: int,
    index: int,
    *,
    on_progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> int:
    """Make the parts of one share; those that an interrupted call has finished are kept.

    Args:
        job: The job, prepared as it was for `plan_shares`.
        share_frames: As for `plan_shares`.
        index: Number of the share.
        on_progress: Called with `Progress` of the share, often.
        cancel: Looked at often.

    Returns:
        Frames that were finished before.

    Raises:
        JobError: The job was planned with other settings or is gone, or another process makes this share.
        StarVsrError: As running the job raises.
    """
    folder = job.folder
    manifest = plan_of(job)
    begun = read_plan(folder)
    plan = None if begun is None else read_part_plan(folder, job.plan, int(begun["part_frames"]))
    if begun is None or plan is None:
        raise JobError(f"{folder.path}: the plan of the job is gone: plan it once more")
    refuse_changes(folder, differences(begun, manifest))
    parts = shares_of(plan, share_frames)[index]
    tracker = ProgressTracker(on_progress, None)
    lock = JobLock(folder.share(index).with_suffix(".lock"))
    try:
        with processor_threads(job.options.threads), Journal(folder.share(index)) as journal:
            before = marks(job.info)
            work = JobWork(job, folder, journal, JobState(journal.records), manifest, before)
            work.make_share(plan, parts, tracker, cancel or CancelToken())
    finally:
        lock.release()
    return work.num_kept


__all__ = ["Shares", "make_share", "plan_shares", "shares_of"]
