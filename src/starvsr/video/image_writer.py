"""Write frames as images: a folder of PNG files, a numbered pattern, or one PNG or JPEG."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starvsr.errors import OptionError
from starvsr.video.convert import Frame, flatten, from_rgb
from starvsr.video.encoders import EncodeOptions
from starvsr.video.image_names import FOLDER_PATTERN, ImageNames
from starvsr.video.info import FULL, ColorTags, VideoInfo
from starvsr.video.output_files import discard, sync_file, sync_folder
from starvsr.video.patterns import is_pattern


class ImageEncoder:
    """Turns frames into the bytes of PNG or JPEG files.

    Args:
        path: A folder, a pattern such as ``out/f_%04d.png``, or one image.
        options: ``alpha`` is honoured; other video options are refused.
        bit_depth: Above 8 gives 16-bit PNG.
        alpha: Whether frames have four channels.

    Raises:
        OptionError: An option contradicts images.
    """

    def __init__(self, path: Path, options: EncodeOptions, bit_depth: int, alpha: bool) -> None:
        self._path = path
        self.is_single = not is_pattern(path) and path.suffix != ""
        self.is_jpeg = Path(file_pattern(path)).suffix.lower() in (".jpg", ".jpeg")
        self._wide = bit_depth > 8 and not self.is_jpeg
        self._drop_alpha = alpha and options.alpha == "drop"
        self._check(options, alpha)

    def _check(self, options: EncodeOptions, alpha: bool) -> None:
        suffix = Path(file_pattern(self._path)).suffix.lower()
        if suffix not in (".png", ".jpg", ".jpeg"):
            raise OptionError(f"{self._path.name}: images are .png or .jpg, not {suffix or 'without suffix'}")
        if options.codec not in (None, "png"):
            raise OptionError(f"{self._path.name}: images take no codec ({options.codec}); name a video file instead")
        if options.alpha not in ("keep", "drop"):
            raise OptionError(f"alpha must be one of keep, drop, got {options.alpha!r}")
        if alpha and self.is_jpeg and options.alpha == "keep":
            raise OptionError(f"{self._path.name}: JPEG holds no transparency; write PNG, or use alpha=drop")

    def check_room(self, count: int) -> None:
        """Refuse an image more than there is room for.

        Raises:
            OptionError: The output is one image, and ``count`` are there already.
        """
        if self.is_single and count:
            raise OptionError(f"{self._path.name} holds one image, the input more; write a folder or a video")

    def encode(self, pixels: Frame) -> bytes:
        """Encode one frame [H, W, 3 or 4]."""
        if self._drop_alpha:
            pixels = flatten(pixels)
        if self.is_jpeg:
            return _encode("mjpeg", pixels, "yuvj444p", ColorTags(5, FULL, 1, 1), {"q": "2", "qmin": "1", "qmax": "2"})
        name = ("rgba" if pixels.shape[2] == 4 else "rgb") + ("" if pixels.shape[2] == 4 else "24")
        if self._wide:
            name = "rgba64be" if pixels.shape[2] == 4 else "rgb48be"
        return _encode("png", pixels, name, ColorTags(0, FULL, 1, 13), {"compression_level": "4", "pred": "mixed"})


def file_pattern(path: Path) -> str:
    """Give the name of the files of an output: of one image, of a numbered pattern, or of those in a folder."""
    return path.name if is_pattern(path) or path.suffix != "" else FOLDER_PATTERN


class ImageWriter:
    """Take images, write files; the folder or the image appears when all are written.

    Args:
        path: A folder, a pattern such as ``out/f_%04d.png`` (its folder is what is written), or one image.
        source: The input, for the notes on what images cannot hold.
        encoder: Makes the images.
        bit_depth: Significant bits of the frames.
        partial: What it is called while it is written.
        keep: Whether it may be there already, and stays when all is given up.
    """

    def __init__(
        self,
        path: Path,
        source: VideoInfo | None,
        encoder: ImageEncoder,
        bit_depth: int,
        partial: Path,
        *,
        keep: bool = False,
    ) -> None:
        self._path = path
        self._encoder = encoder
        self.notes = _notes(path, source)
        if bit_depth > 8 and encoder.is_jpeg:
            self.notes.append(f"{path.name}: JPEG keeps 8 of the input's {bit_depth} bits per sample; PNG keeps 16")
        self._names = ImageNames(path, source)
        self._written: list[str] = []
        self._partial = partial
        self._keep = keep
        self._made_folder = self.is_folder and not partial.parent.exists()  # of a numbered pattern
        if self.is_folder:
            self._partial.mkdir(exist_ok=keep, parents=True)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write one image; images hold no times."""
        self.add(self._encoder.encode(pixels), pts)

    def add(self, image: bytes, pts: int) -> None:
        """Write one image that is encoded already, if it is not there; its time may be in its name."""
        self._encoder.check_room(self.num_images)
        name = self._names(self.num_images, pts)
        file = self._partial / name if self.is_folder else self._partial
        if not (self._keep and file.exists() and file.read_bytes() == image):
            file.write_bytes(image)
        self._written.append(name)

    @property
    def is_folder(self) -> bool:
        """Whether the output is more than one image."""
        return not self._encoder.is_single

    @property
    def num_images(self) -> int:
        """Images so far."""
        return len(self._written)

    def sync(self, first: int) -> None:
        """Put the images from a number on, counted from 0, on the disk."""
        for name in self._written[first:]:
            sync_file(self._partial / name)
        sync_folder(self._partial)

    def finish(self) -> None:
        """Close the folder or the image; it keeps its partial name."""

    def abort(self) -> None:
        """Remove what was written."""
        if not self._keep:
            discard(self._partial)
        if self._made_folder:
            with contextlib.suppress(OSError):
                self._partial.parent.rmdir()


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
