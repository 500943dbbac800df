"""Folders of images and numbered patterns (``frame_%05d.png``) as input: which files, in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.video.patterns import is_pattern, matching_files
from starvsr.video.suffixes import IMAGE_SUFFIXES

_NUMBER = re.compile(r"(\d+)", re.ASCII)
_NAMED_GAPS = 4


def list_images(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """List the images of a folder or of a numbered pattern in order.

    Args:
        path: A folder (all images in it, in natural order of their names) or a pattern in its last part.

    Returns:
        The files, and notes for the user (numbers that are missing from a pattern).

    Raises:
        InputNotFoundError: The folder does not exist, or nothing matches the pattern.
        UnreadableInputError: The folder holds no image.
    """
    if is_pattern(path):
        return _list_pattern(path)
    files = images_in(path)
    if not files:
        raise UnreadableInputError(f"{path}: no images in this folder; give a video or a folder of PNG, JPEG, ...")
    return tuple(files), _gaps(path, sequence_numbers(files) or [])


def images_in(folder: Path) -> list[Path]:
    """List the images of a folder in natural order of their names; hidden ones are left out."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted((file for file in files if file.is_file()), key=natural_key)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Order frame_2 before frame_10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in _NUMBER.split(path.name.lower())]


def sequence_numbers(files: Sequence[Path]) -> list[int] | None:
    """Return the numbers of files whose names are alike but for one number; None for other names.

    Capitals in suffixes make no difference. Two files of one number (``1.png`` and ``01.png``) are no sequence.
    """
    names = [_NUMBER.split(file.stem + file.suffix.lower()) for file in files]
    if len(names) < 2 or len({len(name) for name in names}) != 1:
        return None
    columns = list(zip(*names, strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or varying[0] % 2 == 0:
        return None
    numbers = [int(digits) for digits in columns[varying[0]]]
    return numbers if len(set(numbers)) == len(numbers) else None


def _gaps(path: Path, numbers: Sequence[int]) -> tuple[str, ...]:
    """Say which numbers are missing."""
    if not numbers:
        return ()
    have = sorted(numbers)
    missing = have[-1] - have[0] + 1 - len(have)
    if not missing:
        return ()
    holes = [(a + 1, b - 1) for a, b in pairwise(have) if b > a + 1]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in holes[:_NAMED_GAPS]]
    which = ", ".join([*words, *(["..."] if len(holes) > _NAMED_GAPS else [])])
    are = "number is" if missing == 1 else "numbers are"
    words_of_range = f"between {have[0]} and {have[-1]} ({which})"
    return (f"{path.name}: {missing} {are} missing {words_of_range}; the film goes on without",)


def _list_pattern(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    if not path.parent.is_dir():
        raise InputNotFoundError(f"{path.parent}: there is no such folder; check the pattern {path.name}")
    found = matching_files(path)
    if not found:
        raise InputNotFoundError(f"{path}: no file matches this pattern; check the folder and the number of digits")
    return tuple(found.values()), _gaps(path, list(found))
