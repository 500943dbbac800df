"""Layout of a job folder: ``OUT.job/`` beside the output. Knows nothing of what its files hold."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from starvsr.errors import JobError
from starvsr.jobs.lock import JobLock
from starvsr.video.write.file_names import fitting

SUFFIX = ".job"
_PART = re.compile(r"part_\d{6,}(\.partial)?|share_\d{6,}(\.lock|\.partial)?")
_OWN_FILES = ("plan.json", "parts.json", "journal")
_OURS = ("lock", *_OWN_FILES, *(f"{name}.partial" for name in _OWN_FILES))


def job_path(out: Path) -> Path:
    """Return the job folder of an output; a name that leaves no room for the suffix is shortened."""
    return fitting(out, out.name, after=SUFFIX)


class JobFolder:
    """The files of a job.

    Args:
        path: The folder, whose name ends in ``.job``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made_parent = False
        self.plan = path / "plan.json"
        self.part_plan = path / "parts.json"
        self.journal = path / "journal"
        self.lock = path / "lock"
        self.photos = path / "photos"
        self.joined = path / f"joined{Path(path.name.removesuffix(SUFFIX)).suffix}"
        self.trial = self.joined.with_name(f"trial{self.joined.suffix}")

    def part(self, index: int) -> Path:
        """Return the file of a part."""
        return self.path / f"part_{index:06}"

    def share(self, index: int) -> Path:
        """Return the journal of a share: of parts that another worker makes."""
        return self.path / f"share_{index:06}"

    @property
    def shares(self) -> list[Path]:
        """The journals of shares that were begun, in order."""
        return sorted(path for path in self.path.glob("share_*") if not path.suffix)

    @property
    def num_bytes(self) -> int:
        """Bytes of all files in it."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def create(self) -> None:
        """Make the folder where it is not there, and the one that it lies in: that of a numbered pattern may be new.

        Raises:
            JobError: There is something of that name that is no job.
        """
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir()
            self.made_parent = True
        with contextlib.suppress(FileExistsError):
            self.path.mkdir()
        if not self.path.is_dir() or self.strangers():
            raise JobError(f"{self.path}: this is no job of starvsr; move it away, or choose another output")

    def strangers(self) -> list[str]:
        """Return the names in the folder that no job makes."""
        own = (*_OURS, self.photos.name, self.joined.name, self.trial.name)
        return [e.name for e in self.path.iterdir() if e.name not in own and not _PART.fullmatch(e.name)]

    def sweep(self, moved: Collection[int] = ()) -> None:
        """Remove what an interrupted process left half written, and the files of parts that lie in the joined file.

        Args:
            moved: Numbers of these parts; with none, the joined file goes too.
        """
        joined = [] if moved else [self.joined]
        for path in [*joined, self.trial, *self.path.glob("*.partial"), *map(self.part, moved)]:
            _remove(path)

    def clear(self) -> None:
        """Remove everything but the lock: a job that begins anew."""
        self.sweep()
        for path in [*self._made(), self.photos, self.part_plan, self.plan, self.journal]:
            _remove(path)

    def remove(self, lock: JobLock) -> bool:
        """Remove the folder; False where the system refuses.

        The journal goes last, and only when all else is gone, so that a removal that was cut short is understood and
        the same command completes it.

        Args:
            lock: The lock that the caller holds; released where the system removes no file that is open.
        """
        if os.name == "nt":
            lock.release()
        self.sweep()
        own = [*self._made(), self.photos, self.part_plan, self.plan, self.lock]
        gone = [_remove(path) for path in own]
        if not all(gone) or not _remove(self.journal):
            return False
        with contextlib.suppress(OSError):
            self.path.rmdir()
            if self.made_parent:
                self.path.parent.rmdir()  # if the output is not in it
        return not self.path.exists()

    def _made(self) -> list[Path]:
        """Return the files of finished parts and of shares."""
        return [*self.path.glob("part_*"), *self.path.glob("share_*")]


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)
