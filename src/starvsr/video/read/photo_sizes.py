"""Sizes of photos by their headers alone, to tell whether images belong together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

_ORIENTATION = 0x0112  # of EXIF; 5 to 8 turn a photo on its side


def have_one_size(files: Sequence[Path]) -> bool:
    """Whether images are all of one size as they are shown; those whose headers Pillow cannot read do not count."""
    sizes = set()
    for file in files:
        size = _shown_size(file)
        if size is not None:
            sizes.add(size)
        if len(sizes) > 1:
            return False
    return True


def _shown_size(file: Path) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on sizes that Pillow finds large: no pixel is read here
            with Image.open(file) as image:
                width, height = image.size
                is_turned = file.suffix.lower() != ".png" and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (height, width) if is_turned else (width, height)
