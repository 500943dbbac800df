"""Look into files before FFmpeg does, for claims that would make it take memory out of proportion.

A few bytes of MP4 can promise a billion samples, for each of which an index entry is made; a PNG can hold text that
inflates a thousand times. Both are found here by reading the structure alone, at a bounded cost.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from starvsr.errors import UnreadableInputError
from starvsr.video.untrusted.limits import Limits

_PNG = b"\x89PNG\r\n\x1a\n"
_PARENTS = frozenset(
    b"moov trak mdia minf stbl moof traf mvex edts dinf udta meta wave sinf schi tref gmhd hoov".split()
)
_FREE_BOXES = 1_000_000
_DEEPEST = 16
_LARGEST_MOOV = 64 << 20  # of a compressed one, inflated
_FREE_EDITS = 4  # an edit shows a part of the track: so many are taken to show all of it once
_BLOCK = 1024  # samples of raw sound that FFmpeg takes for one


def check_structure(path: Path, limits: Limits) -> None:
    """Refuse a PNG or MP4 whose structure asks for too much; other files pass.

    Raises:
        LimitError: Too many samples or boxes, or too much text.
        UnreadableInputError: A compressed index is too large.
    """
    if path.is_file():
        stat = path.stat()
        _check(path, stat.st_size, stat.st_mtime_ns, limits)


@lru_cache(maxsize=32)
def _check(path: Path, size: int, modified: int, limits: Limits) -> None:
    with path.open("rb") as file:
        if file.read(8) == _PNG:
            check_png_text(path, file, limits)
        else:
            _Boxes(path, file, limits).check(0, size)


# ---- PNG


def check_png_text(path: Path, file: BinaryIO, limits: Limits) -> None:
    """Inflate the texts and the colour profile of a PNG, and refuse when they are too large.

    Args:
        path: For the message.
        file: Open behind the signature.
        limits: ``max_metadata`` counts.
    """
    left = limits.max_metadata
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            for packed in _packed(file.read(min(size, limits.max_metadata)), kind):
                left -= _inflated(packed, left)
            if left < 0:
                limits.refuse(path, "text or a colour profile that inflates without end", "max_metadata")
            file.seek(max(0, size - limits.max_metadata), os.SEEK_CUR)
        else:
            file.seek(size, os.SEEK_CUR)
        file.seek(4, os.SEEK_CUR)


def _packed(data: bytes, kind: bytes) -> Iterator[bytes]:
    """Yield where the compressed text may begin: behind the keyword, and behind language and translation in iTXt."""
    parts = data.split(b"\0", 1)
    if len(parts) < 2:
        return
    rest = parts[1]
    if kind != b"iTXt":
        yield rest[1:]
    elif rest[:1] == b"\1":
        yield rest[2:].split(b"\0", 2)[-1]


def _inflated(data: bytes, most: int) -> int:
    """Count the bytes that data inflates to, up to a little more than ``most``."""
    inflate = zlib.decompressobj()
    total = 0
    try:
        while data and total <= most:
            total += len(inflate.decompress(data, 1 << 20))
            data = inflate.unconsumed_tail
    except zlib.error:
        pass
    return total


# ---- MP4 and MOV


@dataclass
class _Track:
    """What the sample tables of a track promise."""

    is_sound: bool = False
    is_even: bool = False
    samples: int = 0
    chunks: int = 0
    edits: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """Index entries that FFmpeg makes: one for each sample in each edit, or for each 1024 of raw sound."""
        if not (self.is_sound and self.is_even):
            return self.samples * max(1, self.edits // _FREE_EDITS)
        total = 0
        for number, (first, count) in enumerate(self.runs):
            following = self.runs[number + 1][0] if number + 1 < len(self.runs) else self.chunks + 1
            total += max(0, min(following, self.chunks + 1) - first) * -(-count // _BLOCK)
        return total


class _Boxes:
    """A walk over the boxes of one file."""

    def __init__(self, path: Path, file: BinaryIO, limits: Limits) -> None:
        self._path = path
        self._file = file
        self._limits = limits
        self._count = 0
        self._track = _Track()
        self._run_samples = 0

    def check(self, start: int, stop: int, depth: int = 0) -> None:
        """Walk the boxes between two places of the file."""
        while stop - start >= 8:
            self._count += 1
            if self._count > max(_FREE_BOXES, self._limits.max_frames):
                self._limits.refuse(self._path, f"{self._count} boxes or more", "max_frames")
            self._file.seek(start)
            head = self._file.read(24)
            if len(head) < 8:
                return
            size, kind = struct.unpack(">I4s", head[:8])
            body = start + 8
            if size == 1 and len(head) >= 16:
                size, body = struct.unpack(">Q", head[8:16])[0], start + 16
            elif size == 0:
                size = stop - start
            if size < body - start:
                return
            self._box(kind, body, min(start + size, stop), depth)
            start += size

    def _box(self, kind: bytes, body: int, stop: int, depth: int) -> None:
        self._file.seek(body)
        if kind == b"trak":
            self._track = _Track()
        is_disguised = kind == b"free" and self._file.read(8)[4:] == b"moov"
        if (kind in _PARENTS or is_disguised) and depth < _DEEPEST:
            self.check(body + (4 if kind == b"meta" else 0), stop, depth + 1)
            if kind == b"trak" and self._track.entries > self._limits.max_frames:
                self._limits.refuse(self._path, f"an index of {self._track.entries} samples", "max_frames")
        elif kind in _LEAVES:
            self._file.seek(body)
            whole = _LARGEST_MOOV if kind in (b"stsc", b"cmov") else 16
            _LEAVES[kind](self, self._file.read(max(0, min(stop - body, whole))))

    def _numbers(self, data: bytes, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}I", data[: 4 * count].ljust(4 * count, b"\0"))

    def _handler(self, data: bytes) -> None:
        self._track.is_sound = self._track.is_sound or data[8:12] == b"soun"

    def _times(self, data: bytes) -> None:
        _, entries, _, length = self._numbers(data, 4)
        self._track.is_even = entries == 1 and length == 1

    def _sizes(self, data: bytes) -> None:
        _, _, count = self._numbers(data, 3)
        self._track.samples = max(self._track.samples, count)

    def _edits(self, data: bytes) -> None:
        self._track.edits = self._numbers(data, 2)[1]

    def _chunks(self, data: bytes) -> None:
        self._track.chunks = self._numbers(data, 2)[1]

    def _runs(self, data: bytes) -> None:
        rows = np.frombuffer(data[8 : 8 + (len(data) - 8) // 12 * 12], ">u4").reshape(-1, 3)
        self._track.runs = [(int(first), int(count)) for first, count, _ in rows[: self._numbers(data, 2)[1]]]

    def _fragment(self, data: bytes) -> None:
        flags, count = self._numbers(data, 2)
        if flags & 0xF00 == 0:  # nothing is said of the single sample, so the file need not be longer for more of them
            self._run_samples += count
        if self._run_samples > self._limits.max_frames:
            self._limits.refuse(self._path, f"fragments of {self._run_samples} samples", "max_frames")

    def _compressed(self, data: bytes) -> None:
        """Look into a compressed moov box: ``dcom``, then ``cmvd`` with its size and the zlib data."""
        place = data.find(b"cmvd")
        if place < 0:
            return
        promised = self._numbers(data[place + 4 :], 1)[0]
        if promised > _LARGEST_MOOV:
            raise UnreadableInputError(f"{self._path}: a compressed index of {promised} bytes; convert it first")
        try:
            inner = zlib.decompressobj().decompress(data[place + 8 :], promised or 1)
        except zlib.error:
            return
        _Boxes(self._path, io.BytesIO(inner), self._limits).check(0, len(inner))


_LEAVES = {
    b"hdlr": _Boxes._handler,
    b"elst": _Boxes._edits,
    b"stts": _Boxes._times,
    b"stsz": _Boxes._sizes,
    b"stz2": _Boxes._sizes,
    b"stco": _Boxes._chunks,
    b"co64": _Boxes._chunks,
    b"stsc": _Boxes._runs,
    b"trun": _Boxes._fragment,
    b"cmov": _Boxes._compressed,
}
