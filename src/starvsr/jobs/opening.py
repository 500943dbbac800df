"""Open a job: its folder, lock and journal; refuse another job's parts; leave nothing that is not needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from starvsr.errors import JobError
from starvsr.jobs.fingerprint import marks
from starvsr.jobs.folder import JobFolder
from starvsr.jobs.job import Job
from starvsr.jobs.journal import Journal, read_journal
from starvsr.jobs.lock import JobLock
from starvsr.jobs.manifest import differences, digest_of, plan_of, refuse_changes
from starvsr.jobs.manifest_file import Plan, read_plan, write_plan
from starvsr.jobs.state import JobState
from starvsr.jobs.work import JobWork
from starvsr.video.write.publish import output_errors


@contextlib.contextmanager
def open_work(job: Job) -> Iterator[JobWork]:
    """Open a job, new or left by an interrupted process.

    When the block ends with an error, the finished parts stay; a job without any is removed.

    Raises:
        JobError: The job is of other settings, or another process works on it.
        OutputError: The folder cannot be written.
        ResourceError: The disk is too small.
    """
    folder = job.folder
    with output_errors(job.out):
        folder.create()
        lock = JobLock(folder.lock)
    work: JobWork | None = None
    try:
        work = open_locked(job, folder)
        yield work
        work.close()
        if not folder.remove(lock):
            work.late_notes.append(f"{folder.path} could not be removed, nothing in it is needed: remove it")
    except BaseException as error:
        if work is not None:
            work.close()
        _tidy(folder, lock, isinstance(error, JobError))
        raise
    finally:
        lock.release()


def _tidy(folder: JobFolder, lock: JobLock, is_anothers: bool) -> None:
    """After an error: leave what is finished, a caption included; touch nothing when the journal cannot be read."""
    with contextlib.suppress(OSError):
        state = JobState(read_journal(folder.journal)[0])
        if state.parts or state.captions or is_anothers:
            folder.sweep(state.moved)
        else:
            folder.remove(lock)


def open_locked(job: Job, folder: JobFolder) -> JobWork:
    """Open a job whose lock the caller holds."""
    with output_errors(job.out):
        if job.options.restart:
            folder.clear()
        before = marks(job.info)
        plan = plan_of(job)
        journal = Journal(folder.journal)
    try:
        state = JobState(journal.records)
        with output_errors(job.out):
            _keep_caption(job, journal, state)
            folder.sweep(state.moved)
            _match(folder, journal, state, plan)
            _adopt_shares(folder, journal, state)
        return JobWork(job, folder, journal, state, plan, before)
    except BaseException:
        journal.close()
        raise


def _keep_caption(job: Job, journal: Journal, state: JobState) -> None:
    """Record the caption of the job where the journal was begun anew since it was given."""
    record = None if job.prompt is None or job.prompt.record is None else dict(job.prompt.record)
    if record is not None and record not in state.captions:
        journal.append(record)
        state.captions.append(record)


def _match(folder: JobFolder, journal: Journal, state: JobState, plan: Plan) -> None:
    """Compare the manifest with the one that the job was begun with."""
    before = read_plan(folder)
    if before is not None:
        refuse_changes(folder, differences(before, plan))
    elif state.parts and state.plan_digest != digest_of(plan):
        raise JobError(
            f"{folder.path}: the manifest of this unfinished job is damaged, and it was another job than this one: "
            "give --restart to begin anew"
        )
    if before != plan:
        write_plan(folder, plan)
    if state.plan_digest != digest_of(plan):
        journal.append({"kind": "plan", "digest": digest_of(plan)})


def _adopt_shares(folder: JobFolder, journal: Journal, state: JobState) -> None:
    """Record the parts that other workers made as shares of the job (`starvsr.jobs.shares`) as the job's own."""
    if state.end is not None:
        return
    for path in folder.shares:
        for part in JobState(read_journal(path)[0]).in_order:
            if part.index not in state.parts and folder.part(part.index).exists():
                journal.append(part.as_record())
                state.add(part)
