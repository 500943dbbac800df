"""The file that parts are joined into: FFmpeg's muxer writes it, and parts are given up for what it holds.

The muxer holds in memory what it needs at the end, so an interrupted one cannot be resumed; it is run again from
the beginning, gives the same bytes, and those that are there already are left alone. So packets that lie nowhere
else but in this file are safe in it.

While parts are joined, each is given up once the joined file, on the disk, holds its packets. Containers store them
nearly as they are: some replace the marks between the units of H.264 and H.265 by lengths, Matroska leaves out
the first eight bytes of ProRes, others the first two of AV1. So what is kept of a packet is a list of pieces, (bytes
that are not in the file, distance from the last piece, length), found by searching and proven by the packet's
checksum. Nothing here knows a container. A packet that cannot be found keeps its part where it is.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from starvsr.video.parts.part_file import DamagedPartError, Entry, Packet, StoredPart, pack_entries, unpack_entries

_HEAD_BYTES = 4096
Piece = tuple[str, int, int]
Where = dict[str, Any]
OnMoved = Callable[[int, Where], None]
"""Called with the number of a part whose packets the joined file holds, on the disk, and where they are in it."""
_MARK = re.compile(rb"\x00?\x00\x00\x01")
_SKIPPED = (0, 2, 8)  # bytes at the beginning of a packet that a container may leave out
_SHORTEST = 8  # bytes: shorter units are kept as they are
_LONG = 1024  # bytes: a unit as long as this is in the file
_NEXT_TRIES = 3  # parts later, what is not found is given up looking for
_WINDOWS = (1 << 12, 1 << 18, 1 << 25)  # bytes that sound and others may take between two pieces


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


class Locator:
    """Find the packets of parts in a file that they were just written into.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._skip = 0

    def pass_over(self, part: MovedPart) -> None:
        """Go on behind a part that was found earlier."""
        self._place = max(self._place, part.stop)

    def locate(self, part: StoredPart, end: int) -> Where | None:
        """Return where a part lies in the first ``end`` bytes; None when it is not, or not yet, all there.

        Raises:
            DamagedPartError: A packet is not as it was written.
            OSError: The file cannot be read.
        """
        begin = place = self._place
        entries: list[Entry] = []
        pieces: list[list[Piece]] = []
        with self._path.open("rb") as file:
            for packet in part.packets():
                found = self._find_packet(file, packet, place, end)
                if found is None:
                    return None
                place = found[1]
                entries.append(Entry.of(packet))
                pieces.append(found[0])
        self._place = place
        packed = pack_entries(entries, header=part.header_sha256, begin=begin, stop=place, pieces=pieces)
        return {"pieces": base64.b85encode(packed).decode()}

    def _find_packet(self, file: BinaryIO, packet: Packet, place: int, end: int) -> tuple[list[Piece], int] | None:
        pieces: list[Piece] = []
        for content in (packet.data, *(data for _, data in packet.side_data)):
            found = self._find_content(file, content, place, end)
            if found is None:
                return None
            pieces += found[0]
            place = found[1]
        return pieces, place

    def _find_content(self, file: BinaryIO, content: bytes, place: int, end: int) -> tuple[list[Piece], int] | None:
        if _MARK.match(content):
            return _find_units(file, _units(content), place, end)
        for skip in dict.fromkeys((self._skip, *_SKIPPED)):
            found = _find_units(file, [(content[:skip], content[skip:])], place, end)
            if found is not None:
                self._skip = skip
                return found
        return None


def _units(content: bytes) -> list[tuple[bytes, bytes]]:
    """Cut a packet of H.264 or H.265 into (mark, unit)."""
    marks = list(_MARK.finditer(content))
    stops = [mark.start() for mark in marks[1:]] + [len(content)]
    return [(mark.group(), content[mark.end() : stop]) for mark, stop in zip(marks, stops, strict=True)]


def _find_units(
    file: BinaryIO, units: list[tuple[bytes, bytes]], place: int, end: int
) -> tuple[list[Piece], int] | None:
    pieces: list[Piece] = []
    kept = b""  # what is not to be found in the file
    for number, (mark, unit) in enumerate(units):
        kept += mark
        at = _find(file, unit, place, end) if len(unit) >= _SHORTEST else None
        if at is None:
            is_last = number == len(units) - 1
            if len(unit) >= (_SHORTEST if is_last else _LONG):
                return None
            kept += unit
        else:
            pieces.append((kept.hex(), at - place, len(unit)))
            place, kept = at + len(unit), b""
    if kept:
        pieces.append((kept.hex(), 0, 0))
    return pieces, place


def _find(file: BinaryIO, unit: bytes, place: int, end: int) -> int | None:
    for window in _WINDOWS:
        length = min(end - place, len(unit) + window)
        file.seek(place)
        at = file.read(max(0, length)).find(unit)
        if at >= 0:
            return place + at
        if length == end - place:
            break
    return None


class MovedPart(StoredPart):
    """A part whose packets lie in the joined output.

    Args:
        path: The file that the part had.
        where: What was noted when it was given up.
        joined: The joined file, or folder of images.
        image: Gives the name of an image by its number and its time; None for a container.

    Raises:
        DamagedPartError: The note cannot be read.
    """

    def __init__(self, path: Path, where: Where, joined: Path, image: Callable[[int, int], str] | None = None) -> None:
        self.path = path
        self._joined = joined
        self._image = image
        try:
            packed = base64.b85decode(where["pieces"])
            self._entries, told = unpack_entries(packed)
            self.header_sha256: str = told["header"]
            self._begin, self.stop = int(told["begin"]), int(told["stop"])
            self._pieces: list[list[Piece]] = told["pieces"]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedPartError(path, str(error)) from None

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in decode order, each checked.

        Raises:
            DamagedPartError: A packet is not as it was written.
        """
        try:
            contents = self._from_images() if self._image is not None else self._from_pieces()
            for entry, content in zip(self._entries, contents, strict=True):
                yield entry.packet(content)
        except (OSError, ValueError) as error:
            raise DamagedPartError(self.path, getattr(error, "strerror", None) or str(error)) from None

    def _from_pieces(self) -> Iterator[bytes]:
        place = self._begin
        with self._joined.open("rb") as file:
            for pieces in self._pieces:
                content = b""
                for kept, gap, length in pieces:
                    file.seek(place + gap)
                    content += bytes.fromhex(kept) + file.read(length)
                    place += gap + length
                yield content

    def _from_images(self) -> Iterator[bytes]:
        assert self._image is not None
        for number, entry in zip(range(self._begin, self.stop), self._entries, strict=True):
            yield (self._joined / self._image(number, entry.pts)).read_bytes()


def locate_images(part: StoredPart, first: int) -> Where:
    """Note that a part's pictures are the images from number ``first`` on."""
    entries = [Entry.of(packet) for packet in part.packets()]
    packed = pack_entries(entries, header=part.header_sha256, begin=first, stop=first + len(entries), pieces=[])
    return {"pieces": base64.b85encode(packed).decode()}


class Mover:
    """Gives up parts as soon as the joined file holds them."""

    def __init__(self, join: JoinFile, path: Path, on_moved: OnMoved) -> None:
        self._join = join
        self._on_moved = on_moved
        self._locator = Locator(path)
        self._waiting: deque[tuple[int, StoredPart]] = deque()

    def look(self, number: int, part: StoredPart) -> None:
        """Register a part that was handed to the muxer; release the parts whose packets have arrived in the file."""
        self._waiting.append((number, part))
        while self._waiting:
            number, part = self._waiting[0]
            if isinstance(part, MovedPart):
                self._locator.pass_over(part)
            elif (where := self._locator.locate(part, self._join.end)) is not None:
                self._join.sync()
                self._on_moved(number, where)
            elif len(self._waiting) <= _NEXT_TRIES:
                return
            self._waiting.popleft()
