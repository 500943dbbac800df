"""What photos carry beside their samples: colour profile, camera data, resolution.

Asked of Pillow and of the file itself rather than of FFmpeg: PyAV frees what it lists of a PNG's profile a second
time, and lists nothing at all where there are EXIF data, whose kind it does not know.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from starvsr.video.info import MasteringDisplay, PhotoData
from starvsr.video.read import icc
from starvsr.video.read.iso_boxes import heif_layout, jp2_profile
from starvsr.video.read.side_data import profile_beside
from starvsr.video.untrusted.limits import Limits

PHOTO_CODECS = frozenset({"apng", "bmp", "jpeg2000", "jpegls", "mjpeg", "png", "psd", "tiff", "webp"})
"""Codecs, each packet of which is a photo with all that belongs to it."""

DAMAGED = (
    *(OSError, ValueError, SyntaxError, EOFError, MemoryError, TypeError, KeyError, IndexError, RuntimeError),
    struct.error,
)
"""What Pillow raises for files that are not as they should be."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # it tells of damage on the terminal where nobody listens

_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x0112, 0x8769, 0x8825
_STALE = (0xA002, 0xA003, 0xA005)  # size in pixels, interoperability
# of a TIFF file, whose tags describe its own layout besides: text, camera, dates, people, camera data, place
_OF_TIFF = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, _EXIF_IFD, _GPS_IFD)
_XMP_TURN = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]")
_MOST_DPI = 100_000


def read_photo(source: Path | bytes, most: int) -> PhotoData:
    """Read what a photo carries; nothing where Pillow knows no such file.

    Args:
        source: A file, or its content.
        most: Bytes that may be taken of it; what is larger is left, and its profile has no name.
    """
    found = PhotoData()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _by_pillow(source)
    except DAMAGED:
        pass
    except Exception as error:  # a picture that Pillow thinks is a bomb is none of our concern: nothing is decoded
        if type(error).__name__ != "DecompressionBombError":
            raise
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        profile = _profile_of(file, most)
    found = replace(found, profile=profile or found.profile)
    sizes = (found.profile, found.exif, found.xmp)
    if sum(len(part or b"") for part in sizes) > most:
        return PhotoData(dpi=found.dpi)
    return for_rgb(found)


def photo_beside(path: Path, container: Any, frame: Any, packet: Any, decoder: str, limits: Limits) -> PhotoData:
    """Read what a picture of an open file carries, be it a photo or one of a video made of photos.

    Args:
        path: The file.
        container: It, opened.
        frame: Its first decoded frame.
        packet: What it was decoded from.
        decoder: FFmpeg's name of what decoded it.
        limits: What it may ask for.
    """
    most = limits.max_metadata
    layout = heif_layout(path)
    is_file = container.format.name.endswith("_pipe") or container.format.name in ("image2", "apng", "gif")
    if layout is not None or is_file:
        photo = read_photo(path, most)
        profile = photo.profile or (layout.profile if layout else jp2_profile(path)) or profile_beside(frame, decoder)
    else:
        photo = read_photo(bytes(packet), most) if decoder in PHOTO_CODECS and packet.size else PhotoData()
        profile = photo.profile or profile_beside(frame, decoder)
    if profile == photo.profile or profile is None or len(profile) > most:
        return photo
    return for_rgb(replace(photo, profile=profile))


def for_rgb(photo: PhotoData) -> PhotoData:
    """Keep only a profile that describes RGB, and name it; gray ones are rewritten."""
    profile = photo.profile
    if not profile:
        return replace(photo, profile=None)
    space = icc.space_of(profile)
    if space == "GRAY":
        profile, space = icc.gray_as_rgb(profile), "RGB"
    if profile is None or space != "RGB":
        return replace(photo, profile=None, lost_profile=icc.name_of(photo.profile or b""))
    return replace(photo, profile=profile, profile_name=icc.name_of(profile), is_srgb=icc.is_srgb(profile))


def _by_pillow(source: Path | bytes) -> PhotoData:
    from PIL import Image

    opened: Any = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    with opened as image:
        told = image.info
        dpi = _dpi(told.get("dpi"))
        xmp = told.get("xmp") or told.get("XML:com.adobe.xmp")
        xmp = xmp.encode() if isinstance(xmp, str) else xmp
        profile = told.get("icc_profile")
        return PhotoData(
            profile=profile if isinstance(profile, bytes) and profile else None,
            exif=_exif(image),
            xmp=_XMP_TURN.sub(rb"\g<1>1", xmp) if isinstance(xmp, bytes) and xmp else None,
            dpi=dpi,
        )


def _dpi(found: Any) -> tuple[Fraction, Fraction] | None:
    try:
        x, y = (Fraction(float(value)).limit_denominator(10_000) for value in found)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x < _MOST_DPI and 1 < y < _MOST_DPI else None


def _exif(image: Any) -> bytes | None:
    """Give the EXIF data (a TIFF structure) without orientation, thumbnail and sizes; None where nothing is left."""
    from PIL import Image

    try:
        found = image.getexif()
        kept = Image.Exif()
        for tag, value in found.items():
            if tag not in (_ORIENTATION, _EXIF_IFD, _GPS_IFD) and (image.format != "TIFF" or tag in _OF_TIFF):
                kept[tag] = value
        for tag in (_EXIF_IFD, _GPS_IFD):
            inner = {key: value for key, value in found.get_ifd(tag).items() if key not in _STALE}
            if inner:
                kept[tag] = inner
        if not len(kept):
            return None
        packed: bytes = kept.tobytes()
    except (*DAMAGED, AttributeError, ZeroDivisionError, OverflowError):
        return None
    return packed.removeprefix(b"Exif\0\0")


# ---- profiles that Pillow does not give


def _profile_of(file: BinaryIO, most: int) -> bytes | None:
    head = file.read(18)
    if head.startswith(_PNG):
        return next((_inflated(data, most) for kind, data in png_chunks(file, most) if kind == b"iCCP"), None)
    if head.startswith(b"BM"):
        return _of_bitmap(file, most)
    return None


def png_chunks(file: BinaryIO, most: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG that are no pixels: their kind and content."""
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"fdAT") or size > most:
            file.seek(size + 4, io.SEEK_CUR)
            continue
        yield kind, file.read(size)
        file.seek(4, io.SEEK_CUR)


def png_light(source: Path | bytes, most: int) -> tuple[MasteringDisplay | None, tuple[int, int] | None]:
    """Read the HDR10 data of a PNG (chunks mDCV and cLLI): mastering display, and (MaxCLL, MaxFALL) in cd/m2."""
    display, light = None, None
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        if file.read(len(_PNG)) != _PNG:
            return None, None
        for kind, data in png_chunks(file, most):
            if kind in (b"mDCV", b"mDCv") and len(data) == 24:
                points = [Fraction(value, 50_000) for value in struct.unpack(">8H", data[:16])]
                red, green, blue, white = zip(points[::2], points[1::2], strict=True)
                bright, dark = (Fraction(value, 10_000) for value in struct.unpack(">2I", data[16:]))
                display = MasteringDisplay(red, green, blue, white, dark, bright)
            elif kind in (b"cLLI", b"cLLi") and len(data) == 8:
                brightest, mean = (round(Fraction(value, 10_000)) for value in struct.unpack(">2I", data))
                light = (brightest, mean) if max(brightest, mean) < 1 << 16 else None
    return display, light


def _inflated(data: bytes, most: int) -> bytes | None:
    packed = data.partition(b"\0")[2][1:]
    inflate = zlib.decompressobj()
    try:
        whole = inflate.decompress(packed, most + 1)
    except zlib.error:
        return None
    return whole if inflate.eof and len(whole) <= most else None


def _of_bitmap(file: BinaryIO, most: int) -> bytes | None:
    """Find the profile in a BMP of version 5."""
    file.seek(14)
    header = file.read(124)
    if len(header) < 124 or header[:4] != struct.pack("<I", 124) or header[56:60] != b"DEBM":
        return None
    start, size = struct.unpack("<2I", header[112:120])
    if size > most:
        return None
    file.seek(14 + start)
    return file.read(size)
