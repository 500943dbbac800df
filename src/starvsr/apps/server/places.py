"""Where files lie. Names that users give are shown, and never become paths: files are named after random ids."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.records import JobRecord, Upload
from starvsr.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
CONTAINERS = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", ".png", ".jpg", ".tif")
_LONGEST_NAME = 120
_MOST_FILES = 2000


class Places:
    """The folder of a server.

    Args:
        data: The folder; made, readable by its owner alone, when it is not there.
    """

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        for folder in (self.data, self.data / "uploads", self.data / "jobs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def records(self) -> Path:
        """The record of jobs."""
        return self.data / "jobs.sqlite"

    def upload(self, upload: Upload) -> Path:
        """Return the file of an upload."""
        return self.data / "uploads" / f"{upload.id}{upload.suffix}"

    def folder(self, job: JobRecord) -> Path:
        """Return the folder of a job; the output and what is finished of it are all that lies there."""
        return self.data / "jobs" / job.id

    def output(self, job: JobRecord) -> Path:
        """Return the output of a job."""
        return self.folder(job) / f"result{job.container}"

    def preview_frame(self, job: JobRecord, index: int, side: str) -> Path:
        """Return the picture of a frame of a preview, "before" or "after"."""
        return self.folder(job) / f"{side}-{index}.png"

    def preview_clip(self, job: JobRecord, side: str) -> Path:
        """Return the video of a preview of some seconds, "before" or "after"; it need not be there."""
        mp4, webm = (self.folder(job) / f"{side}{suffix}" for suffix in (".mp4", ".webm"))
        return webm if webm.is_file() else mp4

    def copy_stem(self, job: JobRecord, side: str) -> Path:
        """Return the copy for browsers of a job's "source" or "result", without suffix."""
        return self.folder(job) / f"copy-{side}"

    def playable_copy(self, job: JobRecord, side: str) -> Path | None:
        """Return the copy for browsers, if it is there."""
        stem = self.copy_stem(job, side)
        found = [stem.with_name(stem.name + suffix) for suffix in (".mp4", ".webm", ".png")]
        return next((path for path in found if path.is_file()), None)

    def result_bytes(self, job: JobRecord) -> int:
        """Return the bytes of a finished job's files."""
        if job.is_preview:
            return sum(path.stat().st_size for path in self.folder(job).iterdir())
        return self.output(job).stat().st_size

    def remove(self, job: JobRecord) -> None:
        """Remove the files of a job."""
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def received(self, upload: Upload) -> int:
        """Return how many bytes of an upload have come."""
        try:
            return self.upload(upload).stat().st_size
        except FileNotFoundError:
            return 0

    def told(self, text: str, job: JobRecord) -> str:
        """Return a message for the user of a job: names that they know in place of paths of this machine."""
        for path, name in ((job.source, job.name), (str(self.output(job)), result_name(job))):
            text = text.replace(path, name)
        text = re.sub(r"if the file can be trusted, raise --[a-z-]+", "the operator may raise the limit", text)
        return text.replace(str(self.folder(job)), "the job").replace(str(self.data), "the server's folder")


def shown_name(name: str) -> str:
    """Return the last component of a name, without control characters, at most 120 characters long."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip() or "video"
    if len(kept) <= _LONGEST_NAME:
        return kept
    stem, suffix = os.path.splitext(kept)
    return stem[: _LONGEST_NAME - len(suffix[:10])] + suffix[:10]


def suffix_of(name: str) -> str:
    """Return the suffix under which a file of that name is kept: a known one, or none."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if suffix in SUFFIXES else ""


def result_name(job: JobRecord) -> str:
    """Return the name under which a result is downloaded."""
    return f"{os.path.splitext(job.name)[0]}_upscaled{job.container}"


def allowed_file(roots: Mapping[str, Path], words: str) -> Path:
    """Return the file that "FOLDER/REST" names below an allowed folder.

    Raises:
        RefusedError: There is none, or it lies elsewhere; both read the same.
    """
    refusal = RefusedError(
        404,
        "no_such_file",
        "the file cannot be read",
        "there is no such video or image below the folders that the operator allowed",
        "list them with GET /api/v1/files",
    )
    parts = words.split("/")
    if len(parts) < 2 or parts[0] not in roots or any(part in ("", ".", "..") for part in parts):
        raise refusal
    if any(c in words for c in "\\\0%") or suffix_of(words) == "":
        raise refusal
    root = roots[parts[0]]
    try:
        path = root.joinpath(*parts[1:]).resolve(strict=True)
        path.relative_to(root)
    except (OSError, ValueError, RuntimeError):
        raise refusal from None
    if not path.is_file():
        raise refusal
    return path


def allowed_files(roots: Mapping[str, Path]) -> Iterator[str]:
    """Yield the names of the videos and images below the allowed folders, two thousand at most."""
    count = 0
    for name, root in roots.items():
        for folder, folders, files in os.walk(root):
            folders.sort()
            for file in sorted(files):
                words = "/".join([name, *Path(folder, file).relative_to(root).parts])
                with contextlib.suppress(RefusedError):
                    allowed_file(roots, words)
                    yield words
                    count += 1
                if count >= _MOST_FILES:
                    return
