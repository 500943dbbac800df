"""Frames to the bytes of images: PNG, JPEG, WebP, TIFF, AVIF, and the frames of animations."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from starvsr.errors import OptionError
from starvsr.video.convert import Frame, flatten, from_rgb
from starvsr.video.info import FULL, ColorTags, PhotoData, VideoInfo
from starvsr.video.patterns import is_pattern
from starvsr.video.pixels import to_8_bits
from starvsr.video.write.gif_frames import encode_gif
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.photo_metadata import jpeg_with, photo_notes, png_with, tiff_with
from starvsr.video.write.webp_file import still_webp

_SDR_PRIMARIES = frozenset({0, 1, 2, 5, 6, 7})  # told apart by no viewer of images
_SDR_TRANSFERS = frozenset({0, 1, 2, 4, 6, 7, 13, 14, 15})
_SRGB = (1, 13)


@dataclass(frozen=True)
class _Kind:
    """What a format of images can hold.

    Attributes:
        name: For people.
        most_bits: Bits per sample.
        alpha: Whether it holds transparency.
        most_side: Pixels.
        codecs: What ``codec`` may say; the first is the default.
        profile: Whether it holds colour profiles.
        metadata: Whether it holds EXIF and XMP.
        tags: Whether it can name colours by code points (CICP).
    """

    name: str
    most_bits: int
    alpha: bool
    most_side: int
    codecs: tuple[str, ...]
    profile: bool = True
    metadata: bool = True
    tags: bool = False


_PNG = _Kind("PNG", 16, True, 2**31 - 1, ("png",), tags=True)
_JPEG = _Kind("JPEG", 8, False, 65500, ("mjpeg",))
_TIFF = _Kind("TIFF", 16, True, 2**31 - 1, ("tiff",))
_KINDS = {
    "": _PNG,
    ".png": _PNG,
    ".apng": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _Kind("WebP", 8, True, 16383, ("webp", "webp_lossless")),
    ".avif": _Kind("AVIF", 8, True, 65535, ("avif",)),
    ".gif": _Kind("GIF", 8, True, 65535, ("gif",), profile=False, metadata=False),
}


class ImageEncoder:
    """Turns frames into the bytes of images; those of animations come without what the whole file holds once.

    Args:
        form: The output, with its size. Of its options ``alpha`` is honoured, and ``codec`` where a format has a
            choice (``webp``, ``webp_lossless``); other video options are refused.

    Raises:
        OptionError: An option contradicts images, or the format cannot hold the size.
    """

    def __init__(self, form: OutputFormat) -> None:
        self._path = path = form.path
        self.is_single = not is_pattern(path) and path.suffix != ""
        suffix = path.suffix.lower()
        kind = _KINDS.get(suffix)
        if kind is None:
            raise OptionError(f"{path.name}: images are .png, .jpg, .webp, .tif or .avif, not {suffix}")
        self._kind = kind
        self._is_part = form.is_animation
        self._wide = form.bit_depth > 8 and kind.most_bits > 8
        self._drop_alpha = form.alpha and form.options.alpha == "drop"
        self._check(form)
        self._codec = form.options.codec or kind.codecs[0]
        self._source = form.source
        self._photo = form.source.photo if form.source is not None else PhotoData()

    def _check(self, form: OutputFormat) -> None:
        kind, options = self._kind, form.options
        if options.codec not in (None, *kind.codecs):
            why = f"images take no codec ({options.codec}); name a video file instead"
            if len(kind.codecs) > 1:
                why = f"{kind.name} takes {' or '.join(kind.codecs)} for a codec, not {options.codec}"
            raise OptionError(f"{self._path.name}: {why}")
        if options.alpha not in ("keep", "drop"):
            raise OptionError(f"alpha must be one of keep, drop, got {options.alpha!r}")
        if form.alpha and not kind.alpha and options.alpha == "keep":
            raise OptionError(f"{self._path.name}: {kind.name} holds no transparency; write PNG, or use alpha=drop")
        if max(form.width, form.height) > kind.most_side:
            raise OptionError(
                f"{self._path.name}: {kind.name} stops at {kind.most_side} pixels a side, the output is"
                f" {form.width}x{form.height}; write .png or .tif"
            )
        if kind.name == "AVIF" and not _has_avif():
            raise OptionError(f"{self._path.name}: this Pillow cannot write AVIF; update it, or write .webp or .png")

    @property
    def notes(self) -> list[str]:
        """What the format does not keep of the input."""
        kind, source, name = self._kind, self._source, self._path.name
        notes = photo_notes(name, source, profile=kind.profile, metadata=kind.metadata)
        if source is None:
            return notes
        if source.bit_depth > 8 and kind.most_bits <= 8:
            notes.append(f"{name}: {kind.name} keeps 8 of the input's {source.bit_depth} bits per sample; PNG keeps 16")
        if _wide_colors(source) and not kind.tags and not self._photo.profile:
            notes.append(
                f"{name}: {kind.name} is not told that the colours are wide or HDR ({source.color.describe()}); PNG is"
            )
        return notes

    def check_count(self, count: int) -> None:
        """Refuse an image more than the names allow.

        Raises:
            OptionError: The output is one image, and ``count`` are there already.
        """
        if self.is_single and count and not self._is_part:
            raise OptionError(f"{self._path.name} holds one image, the input more; write a folder or a video")

    def encode(self, pixels: Frame) -> bytes:
        """Encode one frame [H, W, 3 or 4]."""
        if self._drop_alpha:
            pixels = flatten(pixels)
        kind = self._kind.name
        photo = PhotoData() if self._is_part else self._photo
        if kind == "PNG":
            return png_with(self._png(pixels), photo)
        if kind == "JPEG":
            color = ColorTags(5, FULL, 1, 1)
            return jpeg_with(_encode("mjpeg", pixels, "yuvj444p", color, {"q": "2", "qmin": "1", "qmax": "2"}), photo)
        if kind == "TIFF":
            name = _packed(pixels, wide=self._wide, order="le")
            return tiff_with(_encode("tiff", pixels, name, ColorTags(0, FULL), {"compression_algo": "deflate"}), photo)
        narrow = to_8_bits(pixels)
        if kind == "GIF":
            return encode_gif(narrow)
        if kind == "AVIF":
            return _avif(narrow, photo)
        return still_webp(_webp(narrow, lossless=self._codec == "webp_lossless"), photo)

    def _png(self, pixels: Frame) -> bytes:
        name = _packed(pixels, wide=self._wide, order="be")
        primaries, transfer = _SRGB
        if self._photo.profile:
            primaries, transfer = 2, 2
        elif self._source is not None and _wide_colors(self._source):
            color = self._source.color
            primaries, transfer = color.primaries or 2, color.transfer or 2
        settings = {"compression_level": "4", "pred": "mixed"}
        return _encode("png", pixels, name, ColorTags(0, FULL, primaries, transfer), settings)


def _wide_colors(source: VideoInfo) -> bool:
    return source.color.primaries not in _SDR_PRIMARIES or source.color.transfer not in _SDR_TRANSFERS


def _packed(pixels: Frame, *, wide: bool, order: str) -> str:
    if wide:
        return f"rgba64{order}" if pixels.shape[2] == 4 else f"rgb48{order}"
    return "rgba" if pixels.shape[2] == 4 else "rgb24"


def _has_avif() -> bool:
    from PIL import features

    return "avif" in features.modules and bool(features.check("avif"))


def _avif(pixels: Any, photo: PhotoData) -> bytes:
    beside = {"icc_profile": photo.profile, "exif": photo.exif, "xmp": photo.xmp}
    return _by_pillow(
        pixels,
        "AVIF",
        quality=90,
        subsampling="4:4:4",
        max_threads=1,
        **{name: data for name, data in beside.items() if data},
    )


def _webp(pixels: Any, *, lossless: bool) -> bytes:
    return _by_pillow(pixels, "WEBP", lossless=lossless, quality=75 if lossless else 95, method=4)


def _by_pillow(pixels: Any, kind: str, **settings: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, kind, **settings)
    return out.getvalue()


def _encode(codec: str, pixels: Frame, pixel_format: str, tags: ColorTags, settings: dict[str, str]) -> bytes:
    frame = from_rgb(pixels, pixel_format, tags)
    frame.pts = 0
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.color_range = tags.range
    context.thread_count = 1
    context.options = settings
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
