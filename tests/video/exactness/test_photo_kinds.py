"""Photos of every kind that Pillow writes, with and without colour profiles: as Pillow sees them, profiles carried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.video.exactness.properties import holds, identity
from tests.video.exactness.strategies import sides
from tests.video.photos import KINDS, images, profile_of

_PROFILED = ("png", "jpg", "webp", "tif", "avif")
_KEEP_PROFILES = ("png", "jpg", "webp", "tif", "avif", "apng")
_WIDE = ("I;16", "I", "F")
_LOSSY = {"jpg": 4, "avif": 5}


@dataclass(frozen=True)
class Photo:
    """A photo, and what becomes of it."""

    suffix: str
    mode: str
    width: int
    height: int
    has_profile: bool
    out: str


@st.composite
def photo_kinds(draw: st.DrawFn) -> Photo:
    """Draw a format, a mode that it holds, a profile or none, and an output."""
    suffix, mode = draw(st.sampled_from(KINDS))
    has_profile = suffix in _PROFILED and draw(st.booleans())
    out = draw(st.sampled_from(["out.png", "out.png", "out.tif", "out.webp", "out.apng", "out.jpg", "out.mkv"]))
    return Photo(suffix, mode, draw(sides(16, 96)), draw(sides(16, 96)), has_profile, out)


@holds("photos of every kind that Pillow writes, profiles included", photo_kinds(), few=12, many=150)
def test_photos_of_every_kind(photo: Photo, folder: Path) -> None:
    """Pixels as Pillow sees them where the output loses nothing; the profile byte for byte, or named in a note."""
    source, out = folder / f"in.{photo.suffix}", folder / photo.out
    image = images(photo.width, photo.height)[photo.mode]
    settings = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(photo.suffix, {})
    settings |= {"quality": 100, "subsampling": "4:4:4"} if photo.suffix == "avif" else {}
    clear = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    image.save(source, **settings, **clear, **({"icc_profile": profile_of()} if photo.has_profile else {}))
    with Image.open(source) as again:
        has_profile = again.info.get("icc_profile") is not None
        is_rgb = again.mode not in ("CMYK", "LAB")
        seen = np.asarray(again.convert("RGBA")).astype(int) if is_rgb else None
    has_alpha = seen is not None and seen[..., 3].min() < 255
    drop = {"alpha": "drop"} if photo.out == "out.jpg" and has_alpha else {}
    codec = {"out.webp": "webp_lossless", "out.mkv": "ffv1"}.get(photo.out)
    result = identity(source, out, codec=codec, **drop)
    notes = " ".join(result.notes)
    suffix = out.suffix[1:]
    if has_profile and not (is_rgb and suffix in _KEEP_PROFILES):
        assert "profile" in notes
    if suffix not in _KEEP_PROFILES:
        return
    with Image.open(out) as made:
        assert made.size == (photo.width, photo.height)
        assert made.info.get("icc_profile") == (profile_of() if has_profile and is_rgb else None)
        found = np.asarray(made.convert("RGBA")).astype(int)
    if seen is None or photo.mode in _WIDE or suffix == "jpg":
        return
    difference = np.abs(found - seen)
    difference[seen[..., 3] == 0] = 0  # colours that nobody sees
    assert difference.max() <= _LOSSY.get(photo.suffix, 3 if photo.mode in ("CMYK", "YCbCr") else 0)
