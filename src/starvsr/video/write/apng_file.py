"""Lay PNG images one behind the other into an animated PNG (PNG specification, third edition)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

from starvsr.video.info import PhotoData
from starvsr.video.write.photo_metadata import png_chunk, png_with

_HEAD = 8 + 25
_MOST = 65535
_FRAME_PARTS = (b"IDAT", b"IEND")


class ApngFile:
    """Write an animated PNG.

    Args:
        file: Where to; it is sought in.
        size: Width and height in pixels.
        num_plays: How often it is played, 0 for ever.
        photo: What goes beside the pictures.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], num_plays: int, photo: PhotoData) -> None:
        self._file = file
        self._size = size
        self._plays = num_plays
        self._photo = photo
        self._count = 0
        self._sequence = 0
        self._place = 0

    def add(self, image: bytes, delay: Fraction) -> None:
        """Add a frame, given as a PNG of its own, to be shown for ``delay`` seconds."""
        if self._count == 0:
            self._begin(image)
        numbers = (*self._size, 0, 0, *delay_parts(delay), 0, 0)
        self._file.write(png_chunk(b"fcTL", struct.pack(">5I2H2B", self._next(), *numbers)))
        for kind, data in _chunks(image):
            if kind == b"IDAT" and self._count == 0:
                self._file.write(png_chunk(b"IDAT", data))
            elif kind == b"IDAT":
                self._file.write(png_chunk(b"fdAT", struct.pack(">I", self._next()) + data))
        self._count += 1

    def end(self) -> None:
        """Write the end, and the number of frames at the beginning."""
        self._file.write(png_chunk(b"IEND", b""))
        size = self._file.tell()
        self._file.seek(self._place)
        self._file.write(self._control())
        self._file.seek(size)

    def _begin(self, image: bytes) -> None:
        common = b"".join(png_chunk(kind, data) for kind, data in _chunks(image) if kind not in _FRAME_PARTS)
        head = png_with(image[:8] + common, self._photo)
        self._file.write(head[:_HEAD])
        self._place = self._file.tell()
        self._file.write(self._control() + head[_HEAD:])

    def _control(self) -> bytes:
        return png_chunk(b"acTL", struct.pack(">2I", self._count, self._plays))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1


def delay_parts(delay: Fraction) -> tuple[int, int]:
    """Give numerator and denominator of 16 bits each: exact where they fit, else whole milliseconds."""
    if delay.numerator <= _MOST and delay.denominator <= _MOST:
        return delay.numerator, delay.denominator
    thousandths = round(delay * 1000)
    return (thousandths, 1000) if thousandths <= _MOST else (min(round(delay), _MOST), 1)


def _chunks(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(image):
        size, kind = struct.unpack(">I4s", image[at : at + 8])
        yield kind, image[at + 8 : at + 8 + size]
        at += 12 + size
