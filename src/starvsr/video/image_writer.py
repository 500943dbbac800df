"""Write frames as images: a folder of PNG files, a numbered pattern, or one image."""

from __future__ import annotations

import re
from pathlib import Path

from starvsr.video.convert import Frame
from starvsr.video.images import is_pattern
from starvsr.video.info import VideoInfo
from starvsr.video.output_files import discard, sync_file, sync_folder
from starvsr.video.still_encoder import ImageEncoder

_PATTERN = "frame_%05d.png"


def file_pattern(path: Path) -> str:
    """Give the name of the files of an output: of one image, of a numbered pattern, or of those in a folder."""
    return path.name if is_pattern(path) or path.suffix != "" else _PATTERN


def image_name(path: Path, index: int) -> str:
    """Give the name of the file of one of many images, counted from 0."""
    return file_pattern(path) % (index + 1)


class ImageWriter:
    """Take images, write files; the folder or the image appears when all are written.

    Args:
        path: A folder, a pattern such as ``out/f_%04d.png`` (its folder is what is written), or one image.
        source: The input, for the notes on what images cannot hold.
        encoder: Makes the images.
        partial: What it is called while it is written.
        keep: Whether it may be there already, and stays when all is given up.
    """

    def __init__(
        self,
        path: Path,
        source: VideoInfo | None,
        encoder: ImageEncoder,
        partial: Path,
        *,
        keep: bool = False,
    ) -> None:
        self._path = path
        self._encoder = encoder
        self.notes = [*stream_notes(path, source), *encoder.notes]
        self._count = 0
        self._partial = partial
        self._keep = keep
        if self.is_folder:
            self._partial.mkdir(exist_ok=keep)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write one image; images hold no times."""
        self.add(self._encoder.encode(pixels))

    def add(self, image: bytes) -> None:
        """Write one image that is encoded already, if it is not there."""
        self._encoder.check_room(self._count)
        file = self._partial / image_name(self._path, self._count) if self.is_folder else self._partial
        if not (self._keep and file.exists() and file.read_bytes() == image):
            file.write_bytes(image)
        self._count += 1

    @property
    def is_folder(self) -> bool:
        """Whether the output is more than one image."""
        return not self._encoder.is_single

    @property
    def num_images(self) -> int:
        """Images so far."""
        return self._count

    def sync(self, first: int) -> None:
        """Put the images from a number on, counted from 0, on the disk."""
        for index in range(first, self._count):
            sync_file(self._partial / image_name(self._path, index))
        sync_folder(self._partial)

    def finish(self) -> None:
        """Close the folder or the image; it keeps its partial name."""

    def abort(self) -> None:
        """Remove what was written."""
        if not self._keep:
            discard(self._partial)


def stream_notes(path: Path, source: VideoInfo | None) -> list[str]:
    """Name the streams of the input that images and animations do not hold."""
    if source is None:
        return []
    lost = [s.kind for s in source.streams if s.kind not in ("video", "cover")]
    words = sorted({re.sub("audio", "sound", kind) for kind in lost})
    return [f"{path.name}: images hold no {', '.join(words)} of the input; write .mkv to keep it"] if words else []
