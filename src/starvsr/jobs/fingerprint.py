"""Fingerprints of inputs by their content, and what tells that one was written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starvsr.errors import InputError
from starvsr.video import VideoInfo
from starvsr.video.content import files_fingerprint

Marks = tuple[tuple[int, int, int], ...]


def fingerprint(info: VideoInfo) -> dict[str, Any]:
    """Return the size in bytes, the number of files and a SHA-256 over content (:mod:`starvsr.video.content`).

    Raises:
        OSError: A file cannot be read.
    """
    return files_fingerprint(_files(info))


def marks(info: VideoInfo) -> Marks:
    """Return what the system says of the files: cheap, and different when one of them was written to.

    Raises:
        OSError: A file is gone.
    """
    stats = [file.stat() for file in _files(info)]
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)


class InputWatch:
    """Notices an input that is written to while it is read.

    Args:
        info: The input.
        expected: Its fingerprint, among other entries.
        before: Its `marks` when that was taken.
    """

    def __init__(self, info: VideoInfo, expected: dict[str, Any], before: Marks) -> None:
        self._info, self._expected, self._marks = info, expected, before

    def check(self, *, thoroughly: bool = False) -> None:
        """Compare the input with what it was.

        Args:
            thoroughly: Look at its content even if the system says that nobody wrote to it.

        Raises:
            InputError: It has changed, or is gone.
        """
        path = self._info.path
        try:
            now = marks(self._info)
            if now == self._marks and not thoroughly:
                return
            is_same = {**self._expected, **fingerprint(self._info)} == self._expected
        except OSError as error:
            raise InputError(f"{path}: gone while it was read ({error.strerror}); put it back") from None
        if not is_same:
            raise InputError(f"{path}: changed while it was read; wait until it is whole, then begin with --restart")
        self._marks = now


def _files(info: VideoInfo) -> tuple[Path, ...]:
    return info.files if info.kind == "images" else (info.path,)
