"""Sizes of photos by their headers alone, to tell whether images belong together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from starvsr.errors import InputError

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


def first_of_other_size(
    files: Sequence[Path], size: tuple[int, int], measure: Callable[[Path], tuple[int, int]]
) -> tuple[int, int, int] | None:
    """Return (index, width, height) of the first image whose upright size is not that of the first image.

    Args:
        files: The images.
        size: (width, height) of the first one, upright.
        measure: Returns the size of an image by decoding it; asked only where a header tells another size.
    """
    for index, file in enumerate(files[1:], 1):
        if _shown_size(file) in (None, size):
            continue
        try:
            found = measure(file)
        except InputError:  # a damaged image, which the reader deals with
            continue
        if found != size:
            return (index, *found)
    return None


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
