"""ICC profiles: what they are called, whether they say anything that sRGB does not, and gray ones made fit for RGB.

Their structure is that of ICC.1:2022 (ISO 15076-1); what they mean is asked of LittleCMS, through Pillow.
"""

from __future__ import annotations

import io
import struct
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

_HEADER = 128
_SPACE = slice(16, 20)
_CONNECTION = slice(20, 24)
_KEPT_OF_GRAY = (b"desc", b"cprt", b"wtpt", b"chad")
# columns of sRGB, adapted to D50 (s15Fixed16)
_PRIMARIES = {b"rXYZ": (28578, 14581, 912), b"gXYZ": (25241, 46981, 6362), b"bXYZ": (9376, 3972, 46799)}
_CURVES = (b"rTRC", b"gTRC", b"bTRC")
_STEPS = (0, 64, 128, 192, 255)
_SAME = 2  # codes of 8 bits: what two writings of sRGB differ by


def space_of(profile: bytes) -> str:
    """Name the colour space that a profile describes: ``RGB``, ``GRAY``, ``CMYK``, ``Lab``, ...; empty for none."""
    if len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return ""
    return profile[_SPACE].decode("latin-1").strip()


@lru_cache(maxsize=16)
def name_of(profile: bytes) -> str:
    """Give the profile's own name, in one line, or a few words for one without."""
    from PIL import ImageCms

    try:
        text: Any = ImageCms.getProfileDescription(_opened(profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        text = ""
    words = " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())
    return words[:60] or "without a name"


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Whether colours mean the same by this profile and by sRGB, to two codes of 8 bits."""
    from PIL import Image, ImageCms

    if space_of(profile) != "RGB":
        return False
    grid = np.array(np.meshgrid(_STEPS, _STEPS, _STEPS), np.uint8).reshape(3, 1, -1).transpose(1, 2, 0)
    try:
        srgb: Any = ImageCms.createProfile("sRGB")
        seen: Any = ImageCms.profileToProfile(
            Image.fromarray(np.ascontiguousarray(grid)),
            _opened(profile),
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False
    return int(np.abs(np.asarray(seen).astype(int) - grid).max()) <= _SAME


def to_srgb(image: Any, profile: bytes) -> Any:
    """Convert a Pillow image, of whatever mode, to sRGB by its profile; None where they do not fit each other."""
    from PIL import ImageCms

    try:
        srgb: Any = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(
            image,
            _opened(profile),
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def gray_as_rgb(profile: bytes) -> bytes | None:
    """Make an RGB profile by which equal red, green and blue mean what the gray value meant.

    The tone curve becomes that of all three channels, over the primaries of sRGB, whose white is the same D50.

    Returns:
        The profile; None for gray profiles that are not made of a tone curve.
    """
    try:
        tags = _tags(profile)
    except struct.error:
        return None
    if profile[_CONNECTION] != b"XYZ " or b"kTRC" not in tags:
        return None
    whole = {name: tags[name] for name in _KEPT_OF_GRAY if name in tags}
    whole |= {name: b"XYZ \0\0\0\0" + struct.pack(">3i", *numbers) for name, numbers in _PRIMARIES.items()}
    whole |= dict.fromkeys(_CURVES, tags[b"kTRC"])
    return _profile(profile[:_HEADER], whole)


def _opened(profile: bytes) -> Any:
    from PIL import ImageCms

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack(">I", profile[_HEADER : _HEADER + 4])
    table = profile[_HEADER + 4 : _HEADER + 4 + 12 * min(count, 100)]
    rows = [struct.unpack(">4sII", table[at : at + 12]) for at in range(0, len(table), 12)]
    return {name: profile[start : start + size] for name, start, size in rows}


def _profile(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    start = _HEADER + 4 + 12 * len(tags)
    table, body, places = b"", b"", dict[bytes, int]()
    for name, content in tags.items():
        if content not in places:  # equal curves are stored once
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    size = start + len(body)
    # the profile's identifier (bytes 84 to 99) is a checksum of the old content: 0 says that there is none
    head = struct.pack(">I", size) + header[4:16] + b"RGB " + header[20:84] + bytes(16) + header[100:]
    return head + struct.pack(">I", len(tags)) + table + body
