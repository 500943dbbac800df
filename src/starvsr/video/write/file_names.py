"""Names that fit the file system: most hold 255 bytes, and 84 Japanese characters are 252."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from starvsr.errors import OptionError

MOST_BYTES = 255
_MARK_DIGITS = 8
_LONGEST_SUFFIX = 12


def most_bytes(folder: Path) -> int:
    """Return how many bytes a name in a folder may have."""
    try:
        return min(MOST_BYTES, os.pathconf(folder, "PC_NAME_MAX"))
    except (OSError, ValueError, AttributeError):
        return MOST_BYTES


def fits(path: Path) -> bool:
    """Whether the file system takes the name of a path."""
    return len(os.fsencode(path.name)) <= most_bytes(path.parent)


def fitting(path: Path, name: str, *, before: str = "", after: str = "") -> Path:
    """Return a path beside ``path``: ``before``, a name, ``after``; the name's stem is cut where it is too long.

    In place of what is cut stand digits made from the whole name, so that different names stay different. Its suffix
    stays.
    """
    limit = most_bytes(path.parent) - len(os.fsencode(before + after))
    if len(os.fsencode(name)) > limit:
        suffix = Path(name).suffix
        suffix = suffix if len(os.fsencode(suffix)) <= _LONGEST_SUFFIX else ""  # no suffix, but a sentence with a dot
        mark = "-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:_MARK_DIGITS]
        stem = name[: len(name) - len(suffix)]
        while stem and len(os.fsencode(stem + mark + suffix)) > limit:
            stem = stem[:-1]
        name = stem + mark + suffix
    return path.parent / f"{before}{name}{after}"


def check_name(path: Path) -> None:
    """Refuse a name that the file system does not take.

    Raises:
        OptionError: It is too long.
    """
    if not fits(path):
        size, most = len(os.fsencode(path.name)), most_bytes(path.parent)
        raise OptionError(f"{path}: this name has {size} bytes, and the file system takes {most}: give a shorter one")
