"""Pieces of an unfinished output: runs of encoded frames in files, to be joined without encoding again.

A part holds what its own run of the encoder gave, packet by packet, with exact times, and begins with a keyframe
that nothing before it is needed for. The file: a line that names the format, the packets' bytes, an index with a
checksum for each packet, the index's length, a closing mark. Containers are of no use here: none of them keeps all
codecs, all clocks and the transparency of VP9, and the join needs no more than this.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from starvsr.errors import OutputError
from starvsr.video.write.publish import sync_folder

_HEAD = b"starvsr part 2\n"
_TAIL = b"end of part\n"
_LENGTH_BYTES = 8


class DamagedPartError(OutputError):
    """A part is missing, cut off, or not as it was written.

    Attributes:
        path: The file of the part, also where its packets were looked for elsewhere.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: a finished part of the job is damaged ({why}); run the same command again")
        self.path = path


@dataclass(frozen=True)
class Packet:
    """An encoded picture.

    Attributes:
        data: Its bytes.
        pts: When it is shown, in ticks.
        duration: Ticks that it is shown.
        is_keyframe: Whether decoding can begin here.
        side_data: What goes beside it into the container, by FFmpeg's names.
    """

    data: bytes
    pts: int
    duration: int
    is_keyframe: bool = True
    side_data: tuple[tuple[str, bytes], ...] = ()

    @property
    def content(self) -> bytes:
        """All bytes, one behind the other."""
        return self.data + b"".join(data for _, data in self.side_data)

    def as_av(self) -> Any:
        """Give FFmpeg's packet, without a decoding time."""
        packet: Any = av.Packet(self.data)
        packet.pts, packet.duration = self.pts, self.duration
        packet.is_keyframe = self.is_keyframe
        for name, content in self.side_data:
            beside: Any = PacketSideData(packet_sidedata_type_from_literal(name), len(content))  # type: ignore[call-arg,arg-type]
            memoryview(beside)[:] = content
            packet.set_sidedata(beside)
        return packet


@dataclass(frozen=True)
class Entry:
    """What a list of packets says of one: its sizes and times, and the CRC-32 of its bytes."""

    size: int
    pts: int
    duration: int
    is_keyframe: bool
    beside: tuple[tuple[str, int], ...]
    checksum: int

    @classmethod
    def of(cls, packet: Packet) -> Entry:
        """Describe a packet."""
        beside = tuple((name, len(data)) for name, data in packet.side_data)
        checksum = zlib.crc32(packet.content)
        return cls(len(packet.data), packet.pts, packet.duration, packet.is_keyframe, beside, checksum)

    @property
    def num_bytes(self) -> int:
        """Bytes of the packet and of what is beside it."""
        return self.size + sum(size for _, size in self.beside)

    def packet(self, content: bytes) -> Packet:
        """Give the packet whose bytes these are.

        Raises:
            ValueError: They are not.
        """
        if len(content) != self.num_bytes or zlib.crc32(content) != self.checksum:
            raise ValueError("a checksum differs")
        side_data, place = [], self.size
        for name, size in self.beside:
            side_data.append((name, content[place : place + size]))
            place += size
        return Packet(content[: self.size], self.pts, self.duration, self.is_keyframe, tuple(side_data))


def pack_entries(entries: Sequence[Entry], **more: Any) -> bytes:
    """Turn entries into few bytes: columns, in differences, compressed; ``more`` are further values for JSON."""
    times = [entry.pts for entry in entries]
    columns = {
        "sizes": [entry.size for entry in entries],
        "times": times[:1] + [b - a for a, b in pairwise(times)],
        "durations": [entry.duration for entry in entries],
        "keys": [int(entry.is_keyframe) for entry in entries],
        "beside": [entry.beside for entry in entries] if any(entry.beside for entry in entries) else [],
        "checksums": [entry.checksum for entry in entries],
    }
    return zlib.compress(json.dumps({**more, **columns}, separators=(",", ":")).encode(), 9)


def unpack_entries(packed: bytes) -> tuple[list[Entry], dict[str, Any]]:
    """Turn back: the entries, and the further values.

    Raises:
        ValueError: These are not the bytes of `pack_entries`.
    """
    try:
        told: dict[str, Any] = json.loads(zlib.decompress(packed))
        names = ("sizes", "times", "durations", "keys", "beside", "checksums")
        sizes, steps, durations, keys, besides, checksums = (told.pop(name) for name in names)
        beside = [tuple((name, size) for name, size in one) for one in besides] or [()] * len(sizes)
        columns = zip(sizes, accumulate(steps), durations, map(bool, keys), beside, checksums, strict=True)
        return [Entry(*column) for column in columns], told
    except (zlib.error, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its index cannot be read ({error})") from None


class StoredPart(ABC):
    """A finished part, wherever its packets lie now."""

    path: Path
    header_sha256: str
    _entries: list[Entry]

    @property
    def times(self) -> list[int]:
        """Times of its pictures in presentation order."""
        return sorted(entry.pts for entry in self._entries)

    @property
    def durations(self) -> dict[int, int]:
        """Length of each picture by its time."""
        return {entry.pts: entry.duration for entry in self._entries}

    @abstractmethod
    def packets(self) -> Iterator[Packet]:
        """Yield the packets in decode order, each checked.

        Raises:
            DamagedPartError: A packet is not as it was written.
        """


def delay_of(times: Sequence[int]) -> int:
    """Return by how many pictures decoding must run ahead of presentation, for times in decode order.

    The picture shown as number j can be decoded as number i only where i - delay <= j.
    """
    place = {pts: number for number, pts in enumerate(sorted(times))}
    return max((number - place[pts] for number, pts in enumerate(times)), default=0)


def decoding_times(times: Iterator[int], delay: int) -> Iterator[int]:
    """Yield the decoding times that belong to pictures shown at ``times`` (increasing).

    They are the times of showing, ``delay`` pictures late; those before the first go on backwards in the same steps.
    This is what an encoder does for one long run, so borders between parts leave no trace in it.
    """
    head = []
    for time in times:
        head.append(time)
        if len(head) > delay:
            break
    shift = head[-1] - head[0] if head else 0
    yield from (time - shift for time in head[:delay])
    yield from head
    yield from times


@dataclass(frozen=True)
class PartFacts:
    """What is known of a finished part.

    Attributes:
        num_frames: Frames in it.
        delay: By how many pictures decode order runs ahead of presentation order.
        size: Bytes of its file.
        sha256: Of its file.
    """

    num_frames: int
    delay: int
    size: int
    sha256: str


class PartFile:
    """Write packets into the file of a part, which is under its name, and on the disk, only when `close` returned.

    Args:
        path: The file.

    Raises:
        OSError: As all methods do when the disk is full or gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._entries: list[Entry] = []
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: BinaryIO = self._partial.open("wb")
        try:
            self._put(_HEAD)
        except BaseException:
            self.abort()
            raise

    @property
    def num_packets(self) -> int:
        """Packets so far."""
        return len(self._entries)

    def add(self, packet: Packet) -> None:
        """Add a packet."""
        self._entries.append(Entry.of(packet))
        self._put(packet.content)

    def close(self, header_sha256: str) -> PartFacts:
        """Write the index and give the file its name."""
        index = pack_entries(self._entries, header=header_sha256)
        self._put(index)
        self._put(len(index).to_bytes(_LENGTH_BYTES, "big") + _TAIL)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._partial, self._path)
        sync_folder(self._path.parent)
        delay = delay_of([entry.pts for entry in self._entries])
        return PartFacts(len(self._entries), delay, self._size, self._hash.hexdigest())

    def abort(self) -> None:
        """Throw away what was written; never raises."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


class Part(StoredPart):
    """A finished part in its file.

    Args:
        path: The file.

    Raises:
        DamagedPartError: It is missing, or its index is not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._entries, told = unpack_entries(_read_index(file))
                self.header_sha256: str = told["header"]
        except (OSError, ValueError, KeyError) as error:
            raise DamagedPartError(path, str(error) or type(error).__name__) from None

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in decode order, each checked.

        Raises:
            DamagedPartError: A packet is not as it was written.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(len(_HEAD))
                for entry in self._entries:
                    yield entry.packet(file.read(entry.num_bytes))
        except (OSError, ValueError) as error:
            raise DamagedPartError(self.path, getattr(error, "strerror", None) or str(error)) from None


def copy_part(part: StoredPart, path: Path) -> PartFacts:
    """Write a part into a file of its own.

    Raises:
        DamagedPartError: A packet is not as it was written.
        OSError: The disk is full or gone.
    """
    file = PartFile(path)
    try:
        for packet in part.packets():
            file.add(packet)
        return file.close(part.header_sha256)
    except BaseException:
        file.abort()
        raise


def _read_index(file: BinaryIO) -> bytes:
    if file.read(len(_HEAD)) != _HEAD:
        raise ValueError("it does not begin as a part does")
    end = file.seek(0, os.SEEK_END) - _LENGTH_BYTES - len(_TAIL)
    file.seek(max(end, 0))
    length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
    if file.read() != _TAIL or length > end:
        raise ValueError("it is cut off")
    file.seek(end - length)
    return file.read(length)
