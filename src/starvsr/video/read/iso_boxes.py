"""AVIF, HEIC and JPEG 2000 files by their boxes: which stream is the picture, which its transparency, what is tiled.

FFmpeg gives every item and every track of such a file as a stream of its own, transparency, thumbnails, depth maps and
the tiles of large photos included, and does not say which is which. Box layouts are those of ISO/IEC 14496-12
(tracks), 23008-12 (items) and 15444-1 (JPEG 2000).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_BRANDS = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"miaf"}
)
_LARGEST = 16 << 20  # of a box that is read whole
_MOST_BOXES = 10_000
_FULL_BOX = 4  # version and flags
_ALPHA = (b"auxiliary:alpha", b"hevc:2015:auxid:1")


@dataclass
class HeifLayout:
    """What the items and tracks of a file are to each other, by their numbers, which are the streams' ids.

    Attributes:
        primary: The item that is the picture; None where there is none.
        grids: Items that are put together from tiles.
        derived: Items that are made of others in another way.
        alpha_items: Item of the transparency of each item.
        tracks: Tracks of pictures, in order, without transparency.
        alpha_tracks: Track of the transparency of each track.
        profile: ICC profile of the picture.
    """

    primary: int | None = None
    grids: set[int] = field(default_factory=set)
    derived: set[int] = field(default_factory=set)
    alpha_items: dict[int, int] = field(default_factory=dict)
    tracks: list[int] = field(default_factory=list)
    alpha_tracks: dict[int, int] = field(default_factory=dict)
    profile: bytes | None = None

    @property
    def is_tiled(self) -> bool:
        """Whether the picture is put together from others, which FFmpeg gives one by one."""
        return not self.tracks and self.primary in self.grids | self.derived


def heif_layout(path: Path) -> HeifLayout | None:
    """Read the layout of an AVIF or HEIC file; None for other files.

    Damaged ones give what could be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head[4:8] != b"ftyp" or not _brands(head) & _BRANDS:
                return None
            layout = HeifLayout()
            size = file.seek(0, 2)
            try:
                for kind, start, stop in _boxes(file, 0, size):
                    if kind == b"meta":
                        _read_items(file, start + _FULL_BOX, stop, layout)
                    elif kind == b"moov":
                        _read_tracks(file, start, stop, layout)
            except (struct.error, IndexError):
                pass
            return layout
    except OSError:
        return None


def jp2_profile(path: Path) -> bytes | None:
    """Find the ICC profile of a JPEG 2000 file."""
    try:
        with path.open("rb") as file:
            if file.read(12)[4:8] != b"jP  ":
                return None
            for kind, start, stop in _boxes(file, 0, file.seek(0, 2)):
                if kind == b"jp2h":
                    return next((data[3:] for data in _contents(file, start, stop, b"colr") if data[:1] == b"\2"), None)
    except (OSError, struct.error):
        pass
    return None


def _brands(head: bytes) -> set[bytes]:
    size = min(struct.unpack(">I", head[:4])[0], len(head))
    return {head[at : at + 4] for at in (8, *range(16, size, 4))}


def _boxes(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, stop) of the content of each box."""
    for _ in range(_MOST_BOXES):
        if stop - start < 8:
            return
        file.seek(start)
        head = file.read(16)
        size, kind = struct.unpack(">I4s", head[:8])
        body = start + 8
        if size == 1:
            size, body = struct.unpack(">Q", head[8:16])[0], start + 16
        size = size or stop - start
        if size < body - start:
            return
        yield kind, body, min(start + size, stop)
        start += size


def _contents(file: BinaryIO, start: int, stop: int, wanted: bytes) -> Iterator[bytes]:
    for kind, begin, end in _boxes(file, start, stop):
        if kind == wanted and end - begin <= _LARGEST:
            file.seek(begin)
            yield file.read(end - begin)


def _find(file: BinaryIO, start: int, stop: int, *names: bytes) -> tuple[int, int] | None:
    """Go down into the first box of each name; gives (start, stop) of the last one's content."""
    for name in names:
        found = next(((begin, end) for kind, begin, end in _boxes(file, start, stop) if kind == name), None)
        if found is None:
            return None
        start, stop = found
    return start, stop


# ---- items


def _read_items(file: BinaryIO, start: int, stop: int, layout: HeifLayout) -> None:
    for data in _contents(file, start, stop, b"pitm"):
        layout.primary = struct.unpack(">I" if data[0] else ">H", data[4 : 8 if data[0] else 6])[0]
    for begin, end in [found for found in [_find(file, start, stop, b"iinf")] if found]:
        file.seek(begin)
        is_long = file.read(1)[0] > 0
        for data in _contents(file, begin + _FULL_BOX + (4 if is_long else 2), end, b"infe"):
            _read_item(data, layout)
    properties = _find(file, start, stop, b"iprp", b"ipco")
    kinds = _properties(file, *properties) if properties else []
    owned = _owned(file, start, stop)
    for data in _contents(file, start, stop, b"iref"):
        for item, target in _references(data, b"auxl"):
            if any(kinds[place - 1][0] == b"auxC" and _is_alpha(kinds[place - 1][1]) for place in owned.get(item, ())):
                layout.alpha_items[target] = item
    for place in owned.get(layout.primary or 0, ()):
        kind, data = kinds[place - 1]
        if kind == b"colr" and data[:4] in (b"prof", b"rICC"):
            layout.profile = data[4:]


def _read_item(data: bytes, layout: HeifLayout) -> None:
    version = data[0]
    if version < 2:
        return
    item = struct.unpack(">I" if version > 2 else ">H", data[4 : 8 if version > 2 else 6])[0]
    kind = data[10:14] if version > 2 else data[8:12]
    if kind == b"grid":
        layout.grids.add(item)
    elif kind in (b"iovl", b"iden", b"tmap"):
        layout.derived.add(item)


def _properties(file: BinaryIO, start: int, stop: int) -> list[tuple[bytes, bytes]]:
    found = []
    for kind, begin, end in _boxes(file, start, stop):
        file.seek(begin)
        found.append((kind, file.read(end - begin) if end - begin <= _LARGEST else b""))
    return found


def _owned(file: BinaryIO, start: int, stop: int) -> dict[int, list[int]]:
    """List the properties of each item, counted from 1."""
    owned: dict[int, list[int]] = {}
    place = _find(file, start, stop, b"iprp")
    for data in _contents(file, *place, b"ipma") if place else ():
        version, wide = data[0], data[3] & 1
        at = 8
        for _ in range(struct.unpack(">I", data[4:8])[0]):
            item = struct.unpack(">I" if version else ">H", data[at : at + (4 if version else 2)])[0]
            at += 4 if version else 2
            count, at = data[at], at + 1
            for _ in range(count):
                index = struct.unpack(">H", data[at : at + 2])[0] & 0x7FFF if wide else data[at] & 0x7F
                at += 2 if wide else 1
                if index:
                    owned.setdefault(item, []).append(index)
    return owned


def _is_alpha(data: bytes) -> bool:
    return any(word in data for word in _ALPHA)


def _references(data: bytes, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Yield (from, to) of the references of a kind."""
    width, code = (4, ">I") if data[0] else (2, ">H")
    at = _FULL_BOX
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8:
            return
        if kind == wanted:
            numbers = data[at + 8 : at + size]
            source = struct.unpack(code, numbers[:width])[0]
            count = struct.unpack(">H", numbers[width : width + 2])[0]
            for place in range(count):
                begin = width + 2 + place * width
                yield source, struct.unpack(code, numbers[begin : begin + width])[0]
        at += size


# ---- tracks


def _read_tracks(file: BinaryIO, start: int, stop: int, layout: HeifLayout) -> None:
    for kind, begin, end in _boxes(file, start, stop):
        if kind == b"trak":
            _read_track(file, begin, end, layout)


def _read_track(file: BinaryIO, start: int, stop: int, layout: HeifLayout) -> None:
    header = next(_contents(file, start, stop, b"tkhd"), b"")
    number = struct.unpack(">I", header[20:24] if header[0] else header[12:16])[0]
    media = _find(file, start, stop, b"mdia")
    handler = next(_contents(file, *media, b"hdlr"), b"")[8:12] if media else b""
    links = _find(file, start, stop, b"tref")
    masters = b"".join(_contents(file, *links, b"auxl")) if links else b""
    for at in range(0, len(masters) - 3, 4):
        layout.alpha_tracks[struct.unpack(">I", masters[at : at + 4])[0]] = number
    if handler in (b"pict", b"vide") and not masters:
        layout.tracks.append(number)
