"""What the images of an output are called: as those of the input, or numbered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from starvsr.video.info import VideoInfo
from starvsr.video.patterns import is_pattern, numbered_name
from starvsr.video.read.images import sequence_numbers
from starvsr.video.write.file_names import fitting

FOLDER_PATTERN = "frame_%05d.png"


class ImageNames:
    """Names for the images of one output.

    A folder of images keeps the names of its input's images; a numbered pattern keeps their numbers where their names
    are a numbered sequence. All others are counted from 1.

    Args:
        path: The output: a folder, a pattern, or one image.
        source: The input; None for none.
    """

    def __init__(self, path: Path, source: VideoInfo | None) -> None:
        is_numbered = is_pattern(path)
        files = source.files if source is not None and source.kind == "images" else ()
        self._single = path.name if not is_numbered and path.suffix else None
        self._pattern = path.name if is_numbered else FOLDER_PATTERN
        self._names = names_like(files, path) if files and not is_numbered else []
        self._numbers = (sequence_numbers(files) or []) if files and is_numbered else []

    def __call__(self, index: int, pts: int) -> str:
        """Return the name of an image.

        Args:
            index: Its place among those that are written, counted from 0.
            pts: Its time in ticks; of images as input, its place among those.
        """
        if self._single is not None:
            return self._single
        if 0 <= pts < len(self._names):
            return self._names[pts]
        number = self._numbers[pts] if 0 <= pts < len(self._numbers) else index + 1
        return numbered_name(self._pattern, number)


def names_like(files: Sequence[Path], folder: Path, suffix: str = ".png") -> list[str]:
    """Return names for images made from files, in a folder: their own, with another suffix.

    Where two would be called the same (``a.png`` and ``a.jpg``), both keep their own suffix as well: ``a.jpg.png``.
    """
    count = Counter(file.stem.casefold() for file in files)
    stems = [file.stem if count[file.stem.casefold()] == 1 else file.name for file in files]
    return [fitting(folder / "_", stem + suffix).name for stem in stems]
