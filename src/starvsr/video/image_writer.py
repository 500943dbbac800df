"""Write frames as images: a folder of PNG files, a numbered pattern, or one PNG or JPEG."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starvsr.errors import OptionError
from starvsr.video.convert import Frame, flatten, from_rgb
from starvsr.video.encoders import EncodeOptions
from starvsr.video.images import is_pattern
from starvsr.video.info import FULL, ColorTags, VideoInfo
from starvsr.video.output_files import discard, partial_path, publish

_PATTERN = "frame_%05d.png"


class ImageWriter:
    """Take frames, write images; the folder or the image appears when all are written.

    Args:
        path: A folder, a pattern such as ``out/f_%04d.png`` (its folder is what is written), or one image.
        source: The input, for the notes on what images cannot hold.
        options: ``alpha`` is honoured; other video options are refused.
        bit_depth: Above 8 gives 16-bit PNG.
        alpha: Whether frames have four channels.
    """

    def __init__(
        self, path: Path, source: VideoInfo | None, options: EncodeOptions, bit_depth: int, alpha: bool
    ) -> None:
        self._path = path
        self._is_single = not is_pattern(path) and path.suffix != ""
        self._pattern = path.name if is_pattern(path) else _PATTERN
        self._target = path.parent if is_pattern(path) else path
        self._is_jpeg = Path(self._pattern if not self._is_single else path.name).suffix.lower() in (".jpg", ".jpeg")
        self._wide = bit_depth > 8 and not self._is_jpeg
        self._drop_alpha = alpha and options.alpha == "drop"
        self._check(options, alpha)
        self.notes = _notes(path, source)
        if bit_depth > 8 and self._is_jpeg:
            self.notes.append(f"{path.name}: JPEG keeps 8 of the input's {bit_depth} bits per sample; PNG keeps 16")
        self._count = 0
        self._partial = partial_path(self._target)
        if not self._is_single:
            self._partial.mkdir()

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write one image; images hold no times."""
        if self._is_single and self._count:
            raise OptionError(f"{self._path.name} holds one image, the input more; write a folder or a video")
        file = self._partial if self._is_single else self._partial / (self._pattern % (self._count + 1))
        if self._drop_alpha:
            pixels = flatten(pixels)
        file.write_bytes(self._encode(pixels))
        self._count += 1

    def finish(self) -> None:
        """Give the folder or the image its name."""
        publish(self._partial, self._target)

    def abort(self) -> None:
        """Remove what was written."""
        discard(self._partial)

    def _check(self, options: EncodeOptions, alpha: bool) -> None:
        suffix = Path(self._pattern).suffix.lower() if not self._is_single else self._path.suffix.lower()
        if suffix not in (".png", ".jpg", ".jpeg"):
            raise OptionError(f"{self._path.name}: images are .png or .jpg, not {suffix or 'without suffix'}")
        if options.codec not in (None, "png"):
            raise OptionError(f"{self._path.name}: images take no codec ({options.codec}); name a video file instead")
        if options.alpha not in ("keep", "drop"):
            raise OptionError(f"alpha must be one of keep, drop, got {options.alpha!r}")
        if alpha and self._is_jpeg and options.alpha == "keep":
            raise OptionError(f"{self._path.name}: JPEG holds no transparency; write PNG, or use alpha=drop")

    def _encode(self, pixels: Frame) -> bytes:
        if self._is_jpeg:
            return _encode("mjpeg", pixels, "yuvj444p", ColorTags(5, FULL, 1, 1), {"q": "2", "qmin": "1", "qmax": "2"})
        name = ("rgba" if pixels.shape[2] == 4 else "rgb") + ("" if pixels.shape[2] == 4 else "24")
        if self._wide:
            name = "rgba64be" if pixels.shape[2] == 4 else "rgb48be"
        return _encode("png", pixels, name, ColorTags(0, FULL, 1, 13), {"compression_level": "4", "pred": "mixed"})


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


def _notes(path: Path, source: VideoInfo | None) -> list[str]:
    if source is None:
        return []
    lost = [s.kind for s in source.streams if s.kind not in ("video", "cover")]
    words = sorted({re.sub("audio", "sound", kind) for kind in lost})
    return [f"{path.name}: images hold no {', '.join(words)} of the input; write .mkv to keep it"] if words else []
