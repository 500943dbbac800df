"""Files of this machine's disks, as a batch needs them: looked at, listed, created without overwriting."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starvsr.errors import InputNotFoundError
from starvsr.video.write.publish import as_output_error, file_sha256, replace_file, sync_file, sync_folder


class Disk:
    """A file or folder by its path; what it raises is told in :class:`starvsr.apps.batch.locations.Location`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Whether there is anything of this name."""
        return os.path.lexists(self._path)

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self._path.is_dir()

    def stamp(self) -> dict[str, Any]:
        """Return size and time of the file."""
        try:
            facts = self._path.stat()
        except OSError as error:
            raise InputNotFoundError(f"{self._path}: cannot be read ({error.strerror}); check the manifest") from None
        return {"bytes": facts.st_size, "version": str(facts.st_mtime_ns)}

    def files(self) -> Iterator[str]:
        """Yield the files below the folder, without hidden ones and folders of jobs."""
        for place, folders, files in os.walk(self._path):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".job"))
            relative = os.path.relpath(place, self._path)
            before = "" if relative == "." else Path(relative).as_posix() + "/"
            for name in sorted(files):
                if not name.startswith("."):
                    yield before + name

    def read(self) -> bytes:
        """Return the content."""
        return self._path.read_bytes()

    def sha256(self) -> str:
        """Hash the content."""
        return file_sha256(self._path)

    def copy_to(self, target: Path) -> None:
        """Copy the file."""
        shutil.copyfile(self._path, target)

    def write(self, content: bytes) -> None:
        """Write a small file in one step."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, content)
        except OSError as error:
            raise as_output_error(self._path, error) from None

    def create(self, source: Path, *, overwrite: bool) -> None:
        """Put a file here in one step; raise FileExistsError where there is one."""
        path = self._path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not overwrite:
                with contextlib.suppress(OSError):
                    sync_file(source)
                    os.link(source, path)
                    sync_folder(path.parent)
                    return
                if os.path.lexists(path):
                    raise FileExistsError(path)
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            try:
                shutil.copyfile(source, partial)
                sync_file(partial)
                if overwrite:
                    os.replace(partial, path)
                else:
                    _give_name(partial, path)
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(path.parent)
        except (FileExistsError, PermissionError):
            raise
        except OSError as error:
            raise as_output_error(path, error) from None

    def remove(self) -> None:
        """Remove the file, if it is there."""
        self._path.unlink(missing_ok=True)


def _give_name(partial: Path, path: Path) -> None:
    """Give a file its name unless it is taken, also where the file system has no hard links."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))  # the name is ours now
        os.replace(partial, path)
