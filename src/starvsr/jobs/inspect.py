"""Summaries of unfinished jobs. Read-only but for `remove_job`; loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starvsr.errors import JobError
from starvsr.jobs.folder import SUFFIX, JobFolder, job_path
from starvsr.jobs.journal import read_journal
from starvsr.jobs.lock import JobLock, holder_of
from starvsr.jobs.manifest_file import output_of, read_plan
from starvsr.jobs.part_plan_file import planned_frames
from starvsr.jobs.state import JobState


@dataclass(frozen=True)
class JobSummary:
    """An unfinished job.

    Args:
        folder: Its files.
        plan: What it is; None when its plan is damaged.
        state: What of it is finished.
        num_runs: How often it was begun or resumed.
        num_damaged: Lines of its journal that are not as they were written.
        holder: The process that works on it (0: one that cannot be named); None when nobody does.
    """

    folder: JobFolder
    plan: dict[str, Any] | None
    state: JobState
    num_runs: int
    num_damaged: int
    holder: int | None

    @property
    def output(self) -> Path:
        """What it makes."""
        if self.plan is not None:
            return output_of(self.folder, self.plan)
        return self.folder.path.with_name(self.folder.path.name.removesuffix(SUFFIX))

    @property
    def num_frames(self) -> int | None:
        """Frames in all, as far as is known."""
        if self.state.end is not None:
            return int(self.state.end["num_frames"])
        counted = planned_frames(self.folder)
        return counted if counted is not None or self.plan is None else self.plan["num_frames"]

    @property
    def progress(self) -> str:
        """Progress in words."""
        total = self.num_frames
        done, what = self.state.num_frames, "frames"
        if self.plan is not None and self.plan["input"]["kind"] == "photos":
            done, what = len(self.state.photos), "photos"
        return f"{done} {what}" if total is None else f"{done} of {total} {what} ({100 * done // max(1, total)} %)"

    @property
    def status(self) -> str:
        """Whether a process works on it, in words."""
        if self.holder is not None:
            return f"running (process {self.holder})" if self.holder else "running"
        if self.plan is None and self.is_caption_alone:
            return "interrupted before its plan was made"
        return "interrupted" if self.plan is not None else "interrupted, its plan is damaged"

    @property
    def is_caption_alone(self) -> bool:
        """Whether a caption is all that it has."""
        return bool(self.state.captions) and not self.state.parts and not self.state.photos


def summarize(folder: JobFolder) -> JobSummary:
    """Summarize a job."""
    records, num_damaged = read_journal(folder.journal)
    num_runs = sum(record.get("kind") == "run" for record in records)
    return JobSummary(folder, read_plan(folder), JobState(records), num_runs, num_damaged, holder_of(folder.lock))


def find_job(word: str) -> JobFolder:
    """Return the job that an output's name, or a job folder's name, stands for.

    Raises:
        JobError: There is none.
    """
    path = Path(word)
    for candidate in [path, *([job_path(path)] if path.name not in ("", "..") else [])]:
        if candidate.name.endswith(SUFFIX) and is_job(candidate):
            return JobFolder(candidate)
    raise JobError(f"{word}: there is no unfinished job of that name; `starvsr jobs list FOLDER` shows which there are")


def find_jobs(folder: Path) -> list[JobFolder]:
    """Return the jobs in a folder, by name.

    Raises:
        JobError: There is no such folder.
    """
    if not os.path.isdir(folder):
        raise JobError(f"{folder}: there is no such folder; give the one that the outputs go to")
    return [JobFolder(path) for path in sorted(folder.glob(f"*{SUFFIX}")) if is_job(path)]


def is_job(path: Path) -> bool:
    """Whether a folder holds a job, and nothing else."""
    folder = JobFolder(path)
    return os.path.isdir(path) and (folder.lock.exists() or folder.journal.exists()) and not folder.strangers()


def remove_job(folder: JobFolder) -> int:
    """Remove a job and what it had finished; gives the bytes that it took.

    Raises:
        JobError: A process works on it.
        OSError: It cannot be removed.
    """
    lock = JobLock(folder.lock)
    try:
        num_bytes = folder.num_bytes
        if not folder.remove(lock):
            raise OSError(f"{folder.path}: the system refuses to remove all of it; is the disk writable?")
    finally:
        lock.release()
    return num_bytes


def kept_summary(folder: JobFolder) -> str | None:
    """Describe what an interrupted job has kept; None when it has nothing."""
    if not folder.journal.exists():
        return None
    job = summarize(folder)
    if job.is_caption_alone:
        return f"the caption is kept in {folder.path}; the same command goes on from there"
    if not (job.state.parts or job.state.photos):
        return None
    return f"{job.progress} are finished and kept in {folder.path}; the same command goes on from there"
