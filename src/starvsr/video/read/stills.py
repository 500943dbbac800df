"""Photos that FFmpeg reads wrongly, in part or not at all, and Pillow does: printing colours, tiles, rare depths."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from starvsr.errors import StarVsrError, UnreadableInputError
from starvsr.video.convert import Frame
from starvsr.video.info import FULL, ColorTags, PhotoData, VideoInfo
from starvsr.video.read import icc
from starvsr.video.read.iso_boxes import heif_layout
from starvsr.video.read.opening import reason
from starvsr.video.read.photo_data import DAMAGED, read_photo
from starvsr.video.untrusted.limits import Limits

CONTAINER = "pillow"
"""What `VideoInfo.container` says of photos that Pillow reads."""

_PRINT_MODES = ("CMYK", "LAB", "HSV", "YCbCr")
_NUMBER_MODES = ("I", "F")
_MISREAD = {"TGA": ("1", "LA"), "XBM": ("1",), "DDS": ("L", "LA"), "TIFF": _NUMBER_MODES, "JPEG2000": ()}
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_WIDE_TOP = 65535


@dataclass(frozen=True)
class Still:
    """A photo that Pillow decoded.

    Attributes:
        pixels: [H, W, 3 or 4] uint8 or uint16, upright.
        pixel_format: FFmpeg's name of what ``pixels`` are.
        codec: The file's format.
        photo: What rides beside them.
        notes: What the user should know.
    """

    pixels: Frame
    pixel_format: str
    codec: str
    photo: PhotoData
    notes: tuple[str, ...]


def wants_pillow(path: Path) -> bool:
    """Whether a file is a photo that is to be read by Pillow."""
    layout = heif_layout(path)
    if layout is not None:
        return layout.is_tiled and _opens(path)
    try:
        with _opened(path) as image:
            if image.format not in ("TIFF", "JPEG2000", "JPEG", "MPO", "PSD") and image.format not in _MISREAD:
                return False
            return image.mode in _PRINT_MODES or image.mode in _MISREAD.get(image.format, ())
    except (UnreadableInputError, *DAMAGED):
        return False


def _opens(path: Path) -> bool:
    try:
        with _opened(path):
            return True
    except (UnreadableInputError, *DAMAGED):
        return False


def check_tiles(path: Path) -> None:
    """Refuse photos that are put together from tiles where nothing here joins them.

    Raises:
        UnreadableInputError: It is one.
    """
    layout = heif_layout(path)
    if layout is not None and layout.is_tiled:
        raise UnreadableInputError(
            f"{path}: a photo put together from tiles, which are not joined here (HEIC of phones); save it as JPEG, PNG"
            " or TIFF first"
        )


def probe_still(path: Path, rate: Fraction, limits: Limits) -> VideoInfo:
    """Look at a photo that Pillow reads.

    Raises:
        UnreadableInputError: It is damaged.
        LimitError: It is too large.
    """
    still = read_still(path, limits)
    height, width, channels = still.pixels.shape
    return VideoInfo(
        path=path,
        kind="image",
        container=CONTAINER,
        codec=still.codec,
        width=width,
        height=height,
        coded_width=width,
        coded_height=height,
        frame_rate=rate,
        time_base=1 / rate,
        num_frames=1,
        duration=1 / rate,
        pixel_format=still.pixel_format,
        bit_depth=8 if still.pixels.dtype == np.uint8 else 16,
        has_alpha=channels == 4 and bool((still.pixels[..., 3] < np.iinfo(still.pixels.dtype).max).any()),
        color=ColorTags(matrix=0, range=FULL),
        has_timestamps=False,
        photo=still.photo,
        notes=still.notes,
        limits=limits,
    )


def read_still(path: Path, limits: Limits) -> Still:
    """Decode a photo with Pillow, upright.

    Raises:
        UnreadableInputError: It is damaged, or its samples are numbers of no known range.
        LimitError: It is too large.
    """
    from PIL import ImageOps

    try:
        with _opened(path) as image:
            limits.check_size(path, *image.size)
            photo = read_photo(path, limits.max_metadata)
            name, codec = image.mode, image.format.lower()
            profile = image.info.get("icc_profile")
            upright = ImageOps.exif_transpose(image)
            pixels, notes, converted = _pixels(path, upright, profile)
    except DAMAGED as error:
        raise UnreadableInputError(
            f"{path}: no picture could be decoded: {reason(error)}; check or convert the file"
        ) from None
    if name in ("CMYK", "LAB"):
        lost = None if converted or not profile else icc.name_of(profile)
        photo = replace(photo, profile=None, profile_name="", is_srgb=False, lost_profile=lost)
    wide = pixels.dtype == np.uint16
    alpha = pixels.shape[2] == 4
    form = ("rgba64le" if alpha else "rgb48le") if wide else ("rgba" if alpha else "rgb24")
    return Still(pixels, form, codec, photo, notes)


def rescue(path: Path, limits: Limits) -> bool:
    """Whether Pillow can decode a file that FFmpeg could not, and holds one picture in it."""
    try:
        with _opened(path) as image:
            if getattr(image, "n_frames", 1) != 1:
                return False
        read_still(path, limits)
    except (StarVsrError, *DAMAGED):
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            opened: Any = Image.open(path)
        except Image.DecompressionBombError as error:
            raise UnreadableInputError(f"{path}: {error}") from None
        with opened as image:
            yield image


def _pixels(path: Path, image: Any, profile: bytes | None) -> tuple[Frame, tuple[str, ...], bool]:
    """Give the pixels, notes, and whether the profile was applied."""
    if image.mode in _NUMBER_MODES:
        return _numbers(path, image), (), False
    if image.mode in ("CMYK", "LAB"):
        return _printed(path, image, profile)
    image = image.convert("RGBA" if image.mode in _ALPHA_MODES or "transparency" in image.info else "RGB")
    return np.asarray(image), (), False


def _printed(path: Path, image: Any, profile: bytes | None) -> tuple[Frame, tuple[str, ...], bool]:
    from PIL import ImageCms

    if image.mode == "LAB":
        lab: Any = ImageCms.createProfile("LAB")
        profile = profile or ImageCms.ImageCmsProfile(lab).tobytes()
    by = icc.to_srgb(image, profile) if profile else None
    if by is not None:
        note = f"{path.name}: {image.mode}, converted to sRGB by its colour profile ({icc.name_of(profile or b'')})"
        return np.asarray(by), (note,), True
    note = f"{path.name}: {image.mode} without a usable colour profile, converted to RGB by a formula"
    return np.asarray(image.convert("RGB")), (note,), False


def _numbers(path: Path, image: Any) -> Frame:
    """Take whole numbers up to 65535 for 16 bits, and broken ones from 0 to 1 for all of the range."""
    values = np.asarray(image)
    top = float(values.max(initial=0))
    if not float(values.min(initial=0)) >= 0 or top > (1 if image.mode == "F" else _WIDE_TOP):
        raise ValueError("its samples of 32 bits have no known range: save it with 8 or 16 bits")
    scale = _WIDE_TOP if image.mode == "F" else 1
    gray: Any = np.rint(values.astype(np.float64) * scale).astype(np.uint16)
    out: Frame = np.repeat(gray[..., None], 3, -1)
    return out
