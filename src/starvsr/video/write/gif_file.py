"""Lay GIF images one behind the other into an animated GIF (GIF89a)."""

from __future__ import annotations

import struct
from typing import BinaryIO

_UNIT_MOST = 65535
_KEEP, _CLEAR = 1, 2  # what is done with a frame when its time is over


class GifFile:
    """Write an animated GIF.

    Args:
        file: Where to.
        size: Width and height in pixels.
        num_plays: How often it is played, 0 for ever.
        alpha: Whether frames are transparent in places.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], num_plays: int, *, alpha: bool) -> None:
        self._file = file
        self._size = size
        self._plays = num_plays
        self._disposal = _CLEAR if alpha else _KEEP

    def begin(self, *, is_still: bool) -> None:
        """Write the header."""
        self._file.write(b"GIF89a" + struct.pack("<2H3B", *self._size, 0x70, 0, 0))
        if not is_still and self._plays != 1:
            repeats = min(max(self._plays - 1, 0), _UNIT_MOST)
            self._file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", repeats, 0))

    def add(self, image: bytes, delay: int) -> None:
        """Add a frame, given as a GIF of its own, to be shown for ``delay`` hundredths of a second."""
        table, transparent, data = _parts(image)
        bits = (len(table) // 3 - 1).bit_length()
        flags = self._disposal << 2 | (transparent is not None)
        control = struct.pack("<4BH2B", 0x21, 0xF9, 4, flags, min(delay, _UNIT_MOST), transparent or 0, 0)
        place = struct.pack("<B4HB", 0x2C, 0, 0, *self._size, 0x80 | (bits - 1))
        self._file.write(control + place + table + data)

    def end(self) -> None:
        """Write the trailer."""
        self._file.write(b"\x3b")


def _parts(image: bytes) -> tuple[bytes, int | None, bytes]:
    """Return the colour table, the transparent colour and the compressed data of a GIF of one frame."""
    flags, at = image[10], 13
    table = b""
    if flags & 0x80:
        table = image[at : at + 3 * (2 << (flags & 7))]
        at += len(table)
    transparent = None
    while image[at] != 0x2C:
        if image[at : at + 2] == b"\x21\xf9" and image[at + 3] & 1:
            transparent = image[at + 6]
        at += 2
        while image[at]:
            at += 1 + image[at]
        at += 1
    flags, at = image[at + 9], at + 10
    if flags & 0x80:
        table = image[at : at + 3 * (2 << (flags & 7))]
        at += len(table)
    stop = at + 1
    while image[stop]:
        stop += 1 + image[stop]
    return table, transparent, image[at : stop + 1]
