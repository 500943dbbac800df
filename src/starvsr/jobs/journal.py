"""An append-only file of records, one per line, that a kill or a power cut cannot spoil beyond its last line.

A line is a checksum, a space, and the record in JSON. Each is on the disk before `append` returns. Lines stand for
themselves, so a spoiled one costs what it says and no more.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

from starvsr.video.write.publish import replace_file

Record = dict[str, Any]


class Journal:
    """The open journal of a job.

    ``records`` are those that were there when it was opened; spoiled lines are left out, and taken out of the file.

    Args:
        path: The file; made when it is not there.

    Raises:
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.records, self.num_damaged = read_journal(path)
        if self.num_damaged:
            replace_file(path, b"".join(_line(record) for record in self.records))
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns.

        Raises:
            OSError: The disk is full or gone.
        """
        rest = memoryview(_line(record))
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        os.fsync(self._handle)

    def close(self) -> None:
        """Close the file; harmless when closed."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path) -> tuple[list[Record], int]:
    """Read a journal: the records that are whole, in order, and the number of lines that are not."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    lines = content.split(b"\n")
    found = [_record(line) for line in lines[:-1]]
    records = [record for record in found if record is not None]
    return records, len(found) - len(records) + bool(lines[-1])


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _record(line: bytes) -> Record | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
