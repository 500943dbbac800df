"""Numbered patterns such as ``frame_%05d.png``: what is one, and the names that it stands for.

As in FFmpeg, a pattern holds one ``%d`` or ``%05d``, and ``%%`` stands for a percent sign. Here it also ends in the
suffix of an image, and there is no file of that very name: ``50%discount.mp4`` is a video.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from starvsr.video.suffixes import IMAGE_SUFFIXES

_FIELD = re.compile(r"%(\d{0,2})d|%%|%", re.ASCII)


def is_pattern(path: Path) -> bool:
    """Whether the file name stands for numbered images."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    fields = [found for found in _FIELD.finditer(path.name) if found.group() != "%%"]
    return len(fields) == 1 and fields[0].group() != "%" and not os.path.isfile(path)


def numbered_name(pattern: str, number: int) -> str:
    """Return the name of the image of a number."""
    return _FIELD.sub(lambda f: "%" if f.group() == "%%" else f"{number:0{int(f.group(1) or 0)}d}", pattern)


def pattern_matcher(pattern: str) -> re.Pattern[str]:
    """Return what matches the names that a pattern stands for; its group 1 is the number."""
    words, place = [], 0
    for field in _FIELD.finditer(pattern):
        digits = int(field.group(1) or 0) if field.group() != "%%" else 0
        words += [re.escape(pattern[place : field.start()])]
        words += ["%" if field.group() == "%%" else f"(\\d{{{digits},}})" if digits else "(\\d+)"]
        place = field.end()
    return re.compile("".join([*words, re.escape(pattern[place:])]), re.ASCII | re.DOTALL)


def pattern_head(pattern: str) -> str:
    """Return what stands before the number, without the marks that set it off; "frames" when there is nothing."""
    for field in _FIELD.finditer(pattern):
        if field.group() != "%%":
            return pattern[: field.start()].replace("%%", "%").rstrip("_-. ") or "frames"
    return pattern


def matching_files(path: Path) -> dict[int, Path]:
    """Return the files that a pattern stands for by their numbers, in order; none when there is no such folder."""
    matcher = pattern_matcher(path.name)
    if not path.parent.is_dir():
        return {}
    hits = ((matcher.fullmatch(name), name) for name in os.listdir(path.parent))
    found = {int(hit.group(1)): path.parent / name for hit, name in sorted(hits, key=lambda h: h[1]) if hit}
    return {number: found[number] for number in sorted(found) if found[number].is_file()}
