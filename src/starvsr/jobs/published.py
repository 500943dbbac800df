"""Whether a job that was killed while it published its output, or cleaned up, has published it."""

from __future__ import annotations

from pathlib import Path

from starvsr.jobs.folder import JobFolder
from starvsr.jobs.journal import read_journal
from starvsr.jobs.state import JobState
from starvsr.video.patterns import is_pattern, matching_files
from starvsr.video.write.numbered_output import numbered_sha256
from starvsr.video.write.publish import file_sha256, tree_sha256


def is_published(job_folder: JobFolder, out: Path) -> bool:
    """Whether the output of a job is there already and only the tidying up was cut short."""
    state = JobState(read_journal(job_folder.journal)[0])
    if state.published is None:
        return False
    if is_pattern(out):
        return numbered_sha256(out) == state.published
    return out.exists() and tree_sha256(out) == state.published


def is_half_published(job_folder: JobFolder, out: Path) -> bool:
    """Whether images of a numbered pattern are there that an interrupted job put there, and no others."""
    state = JobState(read_journal(job_folder.journal)[0])
    if state.published is None or not job_folder.joined.is_dir() or tree_sha256(job_folder.joined) != state.published:
        return False
    whole = {file.name: file for file in job_folder.joined.iterdir()}
    there = matching_files(out).values()
    return all(file.name in whole and file_sha256(file) == file_sha256(whole[file.name]) for file in there)
