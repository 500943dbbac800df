"""Lay WebP images into one file: a still with what belongs to it, or an animation (RIFF container, RFC 9649)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from starvsr.errors import OutputError
from starvsr.video.info import PhotoData

_ICC, _ALPHA, _EXIF, _XMP, _MOVES = 0x20, 0x10, 0x08, 0x04, 0x02
_NO_BLENDING = 0x02
_LONGEST = (1 << 24) - 1
_MOST_BYTES = (1 << 32) - 2


def still_webp(image: bytes, photo: PhotoData) -> bytes:
    """Add a profile, EXIF and XMP to a WebP image."""
    if not (photo.profile or photo.exif or photo.xmp):
        return image
    body = _extended(image_size(image), photo, _has_alpha(image), 0) + _before(photo)
    body += b"".join(_chunk(kind, data) for kind, data in _pictures(image)) + _behind(photo)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


class WebpFile:
    """Write an animated WebP.

    Args:
        file: Where to; it is sought in.
        size: Width and height in pixels.
        num_plays: How often it is played, 0 for ever.
        photo: What goes beside the pictures.
        alpha: Whether frames are transparent in places.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], num_plays: int, photo: PhotoData, *, alpha: bool) -> None:
        self._file = file
        self._size = size
        self._plays = num_plays
        self._photo = photo
        self._alpha = alpha

    def begin(self) -> None:
        """Write the header; sizes follow at the end."""
        head = b"RIFF\0\0\0\0WEBP" + _extended(self._size, self._photo, self._alpha, _MOVES) + _before(self._photo)
        self._file.write(head + _chunk(b"ANIM", struct.pack("<IH", 0, min(self._plays, 65535))))

    def add(self, image: bytes, delay: int) -> None:
        """Add a frame, given as a WebP of its own, to be shown for ``delay`` milliseconds.

        Raises:
            OutputError: The file would become larger than 4 GiB.
        """
        width, height = self._size
        head = bytes(6) + _three(width - 1) + _three(height - 1) + _three(min(delay, _LONGEST)) + bytes((_NO_BLENDING,))
        self._file.write(_chunk(b"ANMF", head + b"".join(_chunk(kind, data) for kind, data in _pictures(image))))
        if self._file.tell() > _MOST_BYTES:
            raise OutputError("an animated WebP ends at 4 GiB; write a video, or a folder of images")

    def end(self) -> None:
        """Write what stands at the end, and the size at the beginning."""
        self._file.write(_behind(self._photo))
        size = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", size - 8))
        self._file.seek(size)


def image_size(image: bytes) -> tuple[int, int]:
    """Read (width, height) of a WebP image."""
    for kind, data in _chunks(image):
        if kind == b"VP8X":
            return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
        if kind == b"VP8L":
            bits = int.from_bytes(data[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if kind == b"VP8 ":
            width, height = struct.unpack("<2H", data[6:10])
            return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no picture in this WebP")


def _chunks(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(image):
        kind, size = struct.unpack("<4sI", image[at : at + 8])
        yield kind, image[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _pictures(image: bytes) -> Iterator[tuple[bytes, bytes]]:
    return ((kind, data) for kind, data in _chunks(image) if kind in (b"ALPH", b"VP8 ", b"VP8L"))


def _has_alpha(image: bytes) -> bool:
    return any(kind == b"ALPH" or (kind == b"VP8L" and data[4] & 0x10) for kind, data in _chunks(image))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _extended(size: tuple[int, int], photo: PhotoData, alpha: bool, flags: int) -> bytes:
    parts = ((photo.profile, _ICC), (alpha, _ALPHA), (photo.exif, _EXIF), (photo.xmp, _XMP))
    flags |= sum(flag for part, flag in parts if part)
    return _chunk(b"VP8X", bytes((flags, 0, 0, 0)) + _three(size[0] - 1) + _three(size[1] - 1))


def _before(photo: PhotoData) -> bytes:
    return _chunk(b"ICCP", photo.profile) if photo.profile else b""


def _behind(photo: PhotoData) -> bytes:
    parts = ((b"EXIF", photo.exif), (b"XMP ", photo.xmp))
    return b"".join(_chunk(kind, data) for kind, data in parts if data)
