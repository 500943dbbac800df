"""The file that parts are joined into, as FFmpeg's muxer sees it: one that a second run can go over again.

The muxer holds in memory what it needs at the end, so an interrupted one cannot be gone on with; it is run again from
the beginning, gives the same bytes, and those that are there already are left alone. So packets that lie nowhere
else but in this file are safe in it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

_HEAD_BYTES = 4096


class JoinFile:
    """A file that is written over with what it holds, and further.

    Args:
        path: The file; made when it is not there.

    Attributes:
        end: Bytes that were written this time.

    Raises:
        OSError: As all methods do when the disk is full or gone.
    """

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        self._file: BinaryIO = path.open("r+b", buffering=0)
        self._size_before = self._file.seek(0, os.SEEK_END)
        self._place = 0
        self._is_muted = False
        self._error: OSError | None = None
        self.end = 0

    def write(self, data: bytes) -> int:
        """Write at the current place, if something else is there."""
        if self._is_muted:
            return len(data)
        try:
            self._write(data)
        except OSError as error:  # FFmpeg does not pass on every one
            self._error = error
            raise
        return len(data)

    def _write(self, data: bytes) -> None:
        if self._place < self._size_before and self._read(self._place, len(data)) == data:
            self._place += len(data)
        else:
            self._file.seek(self._place)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._place += len(data)
        self.end = max(self.end, self._place)

    def _read(self, place: int, length: int) -> bytes:
        self._file.seek(place)
        return self._file.read(length)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the current place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.end}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Give the current place."""
        return self._place

    def sync(self) -> None:
        """Put what was written on the disk."""
        os.fsync(self._file.fileno())

    def mute(self) -> None:
        """Take no more: the muxer writes its end even when it is given up."""
        self._is_muted = True

    def close(self) -> None:
        """Cut off what an earlier run wrote behind the end, and close; a muted file is left as it is."""
        if self._file.closed:
            return
        try:
            if self._error is not None and not self._is_muted:
                raise self._error
            if not self._is_muted and self._size_before > self.end:
                self._file.truncate(self.end)
        finally:
            self._file.close()


class CountedFile:
    """Takes what is written and keeps none but the first bytes: to see how long something becomes."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.end = 0
        self._place = 0

    def write(self, data: bytes) -> int:
        """Count."""
        if self._place < _HEAD_BYTES:
            self.head.extend(bytes(max(0, self._place - len(self.head))))
            piece = data[: _HEAD_BYTES - self._place]
            self.head[self._place : self._place + len(piece)] = piece
        self._place += len(data)
        self.end = max(self.end, self._place)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the current place."""
        self._place = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.end}[whence] + offset
        return self._place

    def tell(self) -> int:
        """Give the current place."""
        return self._place

    def index_bytes(self) -> int | None:
        """Return the length of the index (``moov``) that an MP4 has in front; None when there is none."""
        place = 0
        while place + 8 <= len(self.head):
            size, kind = int.from_bytes(self.head[place : place + 4], "big"), bytes(self.head[place + 4 : place + 8])
            if kind == b"moov":
                return size
            if size < 8:
                return None
            place += size
        return None
