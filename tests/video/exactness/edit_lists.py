"""Give the first track of an MP4 or MOV, whose index lies behind its data, another edit list."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

EMPTY = -1


def set_edits(path: Path, edits: Sequence[tuple[int, int]]) -> None:
    """Replace the edit list of the first track.

    Args:
        path: The file, changed in place.
        edits: (length in ticks of the movie, first time in ticks of the track or ``EMPTY``) of each edit.
    """
    data = path.read_bytes()
    boxes = dict(_boxes(data))
    start, stop = boxes[b"moov"]
    assert start > boxes[b"mdat"][0], "offsets would change"
    moov = data[start + 8 : stop]
    first, last = next(span for name, span in _boxes(moov) if name == b"trak")
    track = moov[first + 8 : last]
    kept = [track[a:b] for name, (a, b) in _boxes(track) if name != b"edts"]
    entries = b"".join(struct.pack(">Iihh", length, media, 1, 0) for length, media in edits)
    elst = _box(b"elst", struct.pack(">II", 0, len(edits)) + entries)
    changed = _box(b"trak", b"".join([kept[0], _box(b"edts", elst), *kept[1:]]))
    path.write_bytes(data[:start] + _box(b"moov", moov[:first] + changed + moov[last:]) + data[stop:])


def _boxes(data: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size or len(data) - at
        yield data[at + 4 : at + 8], (at, at + size)
        at += size


def _box(name: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + name + body
