"""Encoded pictures between the encoder and the container: what is known of each, the clock that they are decoded by."""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from starvsr.errors import OutputError


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
        """Times of its pictures in the order of showing."""
        return sorted(entry.pts for entry in self._entries)

    @property
    def durations(self) -> dict[int, int]:
        """Length of each picture by its time."""
        return {entry.pts: entry.duration for entry in self._entries}

    @abstractmethod
    def packets(self) -> Iterator[Packet]:
        """Yield the packets in the order of decoding, each checked.

        Raises:
            DamagedPartError: A packet is not as it was written.
        """


def delay_of(times: Sequence[int]) -> int:
    """Say by how many pictures decoding must run ahead of showing, for times in the order of decoding.

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
