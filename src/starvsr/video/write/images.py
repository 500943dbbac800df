"""Write frames as images: a folder of PNG files, a numbered pattern, or one image."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from starvsr.video.convert import Frame
from starvsr.video.info import VideoInfo
from starvsr.video.patterns import is_pattern
from starvsr.video.write.image_names import FOLDER_PATTERN, ImageNames
from starvsr.video.write.publish import discard, sync_file, sync_folder
from starvsr.video.write.still_encoder import ImageEncoder


def file_pattern(path: Path) -> str:
    """Give the name of the files of an output: of one image, of a numbered pattern, or of those in a folder."""
    return path.name if is_pattern(path) or path.suffix != "" else FOLDER_PATTERN


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
        self._encoder.check_count(self.num_images)
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


def stream_notes(path: Path, source: VideoInfo | None) -> list[str]:
    """Name the streams of the input that images and animations do not hold."""
    if source is None:
        return []
    lost = [s.kind for s in source.streams if s.kind not in ("video", "cover")]
    words = sorted({re.sub("audio", "sound", kind) for kind in lost})
    return [f"{path.name}: images hold no {', '.join(words)} of the input; write .mkv to keep it"] if words else []
