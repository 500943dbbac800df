"""Folders of images and numbered patterns (``frame_%05d.png``) as input: which files, in which order."""

from __future__ import annotations

import re
from pathlib import Path

from starvsr.errors import InputNotFoundError, UnreadableInputError

IMAGE_SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".dpx",
        ".exr",
        ".heic",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".jxl",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    }
)
_PATTERN = re.compile(r"%(0?)(\d*)d")


def is_pattern(path: Path) -> bool:
    """Whether the file name holds one ``%d`` or ``%05d``."""
    return len(_PATTERN.findall(path.name)) == 1


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
    files = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise UnreadableInputError(f"{path}: no images in this folder; give a video or a folder of PNG, JPEG, ...")
    return tuple(sorted(files, key=_natural_key)), ()


def _natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Order frame_2 before frame_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _list_pattern(path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    zero, width = _PATTERN.findall(path.name)[0]
    head, tail = (re.escape(part) for part in re.split(r"%0?\d*d", path.name, maxsplit=1))
    digits = f"\\d{{{int(width)},}}" if zero and width else "\\d+"
    matcher = re.compile(f"{head}({digits}){tail}")
    if not path.parent.is_dir():
        raise InputNotFoundError(f"{path.parent}: there is no such folder; check the pattern {path.name}")
    found = {int(hit.group(1)): p for p in path.parent.iterdir() if (hit := matcher.fullmatch(p.name))}
    if not found:
        raise InputNotFoundError(f"{path}: no file matches this pattern; check the folder and the number of digits")
    numbers = sorted(found)
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    notes = (f"{path.name}: {missing} numbers are missing between {numbers[0]} and {numbers[-1]}",) if missing else ()
    return tuple(found[number] for number in numbers), notes
