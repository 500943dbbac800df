"""Lay into the bytes of a finished image what belongs beside its samples: colour profile, camera data, resolution.

FFmpeg's encoders of images write none of it. Layouts are those of the PNG specification (third edition), JFIF and
ICC.1 annex B, and TIFF 6.0.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import Any

from starvsr.video.info import PhotoData, VideoInfo
from starvsr.video.read.photo_data import DAMAGED

_PNG_HEAD = 8 + 25  # signature and IHDR
_LARGEST_SEGMENT = 65533
_ICC, _EXIF, _XMP = b"ICC_PROFILE\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_INCH = Fraction(254, 10_000)  # metres
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_TEXTS = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
_ASCII, _LONG, _UNDEFINED, _BYTE = 2, 4, 7, 1
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296
_XMP_TAG, _ICC_TAG = 700, 34675


def photo_notes(name: str, source: VideoInfo | None, *, profile: bool, metadata: bool) -> list[str]:
    """Name what an output does not keep of a photo.

    Args:
        name: The output's.
        source: The input.
        profile: Whether the output keeps colour profiles.
        metadata: Whether it keeps EXIF and XMP.
    """
    photo = source.photo if source is not None else PhotoData()
    notes = []
    if photo.lost_profile is not None:
        notes.append(f"{name}: the colour profile ({photo.lost_profile}) is not one of RGB and is not kept")
    if photo.profile and not photo.is_srgb and not profile:
        notes.append(
            f"{name}: the colour profile ({photo.profile_name}) is not kept, so colours may look paler or too strong;"
            " .png, .jpg, .tif and .webp keep it"
        )
    kinds = [word for word, part in (("EXIF", photo.exif), ("XMP", photo.xmp)) if part]
    if kinds and not metadata:
        notes.append(f"{name}: data about the photo ({', '.join(kinds)}) are not kept; .png, .jpg and .webp keep them")
    return notes


def png_with(image: bytes, photo: PhotoData) -> bytes:
    """Add the chunks iCCP, eXIf, iTXt (XMP) and pHYs to a PNG."""
    head, rest = image[:_PNG_HEAD], image[_PNG_HEAD:]
    new = b""
    if photo.dpi:
        x, y = (round(dpi / _INCH) for dpi in photo.dpi)
        new += png_chunk(b"pHYs", struct.pack(">2IB", x, y, 1))
        if rest[4:8] == b"pHYs":  # the shape of a pixel, by FFmpeg
            rest = rest[12 + struct.unpack(">I", rest[:4])[0] :]
    if photo.profile:
        new += png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.profile, 9))
    if photo.exif:
        new += png_chunk(b"eXIf", photo.exif)
    if photo.xmp:
        new += png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp)
    return head + new + rest


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Build a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_with(image: bytes, photo: PhotoData) -> bytes:
    """Add the segments APP1 (EXIF, XMP) and APP2 (profile) to a JPEG, and its resolution."""
    at, new = 2, b""
    if image[2:4] == b"\xff\xe0":
        at += 2 + struct.unpack(">H", image[4:6])[0]
    if photo.dpi:
        x, y = (min(round(dpi), 65535) for dpi in photo.dpi)
        new = _segment(0xE0, b"JFIF\0" + struct.pack(">2BB2H2B", 1, 2, 1, x, y, 0, 0))
        image, at = image[:2] + image[at:], 2
    for head, data in ((_EXIF, photo.exif), (_XMP, photo.xmp)):
        if data and len(head) + len(data) <= _LARGEST_SEGMENT:
            new += _segment(0xE1, head + data)
    if photo.profile:
        size = _LARGEST_SEGMENT - len(_ICC) - 2
        parts = [photo.profile[place : place + size] for place in range(0, len(photo.profile), size)]
        for number, part in enumerate(parts[:255], 1):
            new += _segment(0xE2, _ICC + bytes((number, min(len(parts), 255))) + part)
    return image[:at] + new + image[at:]


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(data) + 2) + data


def tiff_with(image: bytes, photo: PhotoData) -> bytes:
    """Add profile, XMP, EXIF and resolution to a little-endian TIFF of one page, whose directory moves to the end."""
    (start,) = struct.unpack("<I", image[4:8])
    (count,) = struct.unpack("<H", image[start : start + 2])
    rows = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        rows[struct.unpack("<H", image[place : place + 2])[0]] = image[place : place + 12]
    body = bytearray(image + bytes(len(image) % 2))

    def put(tag: int, kind: int, number: int, data: bytes) -> None:
        if len(data) > 4:
            place = struct.pack("<I", len(body))
            body.extend(data + bytes(len(data) % 2))
        else:
            place = data.ljust(4, b"\0")
        rows[tag] = struct.pack("<2HI", tag, kind, number) + place

    if photo.profile:
        put(_ICC_TAG, _UNDEFINED, len(photo.profile), photo.profile)
    if photo.xmp:
        put(_XMP_TAG, _BYTE, len(photo.xmp), photo.xmp)
    if photo.dpi:
        for tag, dpi in zip((_X_RESOLUTION, _Y_RESOLUTION), photo.dpi, strict=True):
            put(tag, 5, 1, struct.pack("<2I", dpi.numerator, dpi.denominator))
        put(_UNIT, 3, 1, struct.pack("<H", 2))
    if photo.exif:
        texts, inner = _exif_parts(photo.exif, len(body))
        for tag, text in texts.items():
            put(tag, _ASCII, len(text), text)
        for tag, packed in inner:
            place = len(body)
            body.extend(packed(place))
            body.extend(bytes(len(body) % 2))
            rows[tag] = struct.pack("<2H2I", tag, _LONG, 1, place)
    table = struct.pack("<H", len(rows)) + b"".join(rows[tag] for tag in sorted(rows)) + bytes(4)
    body[4:8] = struct.pack("<I", len(body))
    return bytes(body) + table


def _exif_parts(exif: bytes, _: int) -> tuple[dict[int, bytes], list[tuple[int, Any]]]:
    """Give the texts of the main directory, and the inner ones as functions of their place."""
    from PIL import Image, TiffImagePlugin

    texts: dict[int, bytes] = {}
    inner: list[tuple[int, Any]] = []
    try:
        found = Image.Exif()
        found.load(_EXIF + exif)
        for tag in _TEXTS:
            value = found.get(tag)
            if isinstance(value, str) and value:
                texts[tag] = value.encode("utf-8") + b"\0"
        for tag in (_EXIF_IFD, _GPS_IFD):
            directory = TiffImagePlugin.ImageFileDirectory_v2(ifh=b"II*\0\0\0\0\0", group=tag)
            for key, value in found.get_ifd(tag).items():
                if not isinstance(value, dict):
                    directory[key] = value
            if len(directory):
                directory.tobytes(8)  # refused now rather than later
                inner.append((tag, directory.tobytes))
    except (*DAMAGED, AttributeError, OverflowError, ZeroDivisionError):
        return texts, []
    return texts, inner
