"""Fingerprints of inputs: size and content at bounded cost; names and times of files do not count.

Up to 64 MB are read whole; of larger files the size, both ends and 62 places between.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from starvsr.errors import InputError
from starvsr.video import VideoInfo

_WHOLE = 64 << 20
_SAMPLES, _SAMPLE_BYTES = 64, 256 << 10
_MOST_IMAGES = 256  # of a folder, this many are looked into; of all, the size

Marks = tuple[tuple[int, int, int], ...]


def fingerprint(info: VideoInfo) -> dict[str, Any]:
    """Return the size in bytes, the number of files and a SHA-256 over content.

    Raises:
        OSError: A file cannot be read.
    """
    files = _files(info)
    digest = hashlib.sha256()
    step = max(1, -(-len(files) // _MOST_IMAGES))
    total = 0
    for number, file in enumerate(files):
        size = file.stat().st_size
        total += size
        digest.update(size.to_bytes(8, "big"))
        if number % step == 0 or number == len(files) - 1:
            _add_content(digest, file, size, _WHOLE if len(files) == 1 else _SAMPLE_BYTES * 4)
    return {"bytes": total, "files": len(files), "sha256": digest.hexdigest()}


def file_fingerprint(file: Path) -> dict[str, Any]:
    """Return what `fingerprint` does, of one file.

    Raises:
        OSError: It cannot be read.
    """
    digest, size = hashlib.sha256(), file.stat().st_size
    _add_content(digest, file, size, _WHOLE)
    return {"bytes": size, "sha256": digest.hexdigest()}


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


def _add_content(digest: Any, file: Path, size: int, whole: int) -> None:
    with file.open("rb") as handle:
        if size <= whole:
            while block := handle.read(1 << 20):
                digest.update(block)
            return
        count = max(2, min(_SAMPLES, whole // _SAMPLE_BYTES))
        for number in range(count):
            handle.seek((size - _SAMPLE_BYTES) * number // (count - 1))
            digest.update(handle.read(_SAMPLE_BYTES))
