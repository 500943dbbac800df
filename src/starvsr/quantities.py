"""Read and write the quantities that people type: times, sizes of memory, counts.

Knows nothing about options or commands; raises plain ``ValueError`` that the caller dresses with the option's
name.
"""

from __future__ import annotations

import re
from fractions import Fraction

_CLOCK = re.compile(r"^(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$", re.IGNORECASE)
_BOX = re.compile(r"(\d{1,9})\s*[xX\u00d7]\s*(\d{1,9})", re.ASCII)
_INTERVAL = re.compile(r"^(\d+):(\d+)$")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_time(value: object) -> Fraction:
    """Turn ``90``, ``"90.5"``, ``"1:30"`` or ``"0:01:30.5"`` into exact seconds."""
    if isinstance(value, bool):
        raise ValueError("a time is seconds or h:mm:ss")
    if isinstance(value, (int, Fraction)):
        seconds = Fraction(value)
    elif isinstance(value, float):
        seconds = Fraction(str(value)) if value == value and abs(value) != float("inf") else Fraction(-1)
    else:
        seconds = _parse_time_text(str(value).strip())
    if seconds < 0:
        raise ValueError("a time is zero or more seconds")
    return seconds


def _parse_time_text(text: str) -> Fraction:
    clock = _CLOCK.match(text)
    if clock:
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + Fraction(seconds)
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+|\d+/\d+", text):
        try:
            return Fraction(text)
        except ZeroDivisionError:
            pass
    raise ValueError("a time is seconds (90.5) or h:mm:ss (0:01:30.5)")


def format_time(seconds: float | Fraction) -> str:
    """Write seconds as ``m:ss`` or ``h:mm:ss``."""
    whole = round(float(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def parse_size(value: object) -> int:
    """Turn ``1000000``, ``"800MB"`` or ``"1.5GB"`` into bytes (1 MB = 2**20 bytes)."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        match = _SIZE.match(str(value).strip())
        if not match:
            raise ValueError("a size is a number of bytes or something like 800MB or 1.5GB")
        size = int(Fraction(match.group(1)) * 1024 ** _POWERS[match.group(2).lower()])
    if size <= 0:
        raise ValueError("a size is more than zero bytes")
    return size


def parse_interval(value: object) -> tuple[int, int]:
    """Turn ``"300:700"`` into two whole numbers, the first no larger than the second."""
    match = _INTERVAL.match(str(value).strip())
    if not match or int(match.group(1)) > int(match.group(2)):
        raise ValueError("an interval is two whole numbers as 300:700, the smaller one first")
    return int(match.group(1)), int(match.group(2))


def parse_box(value: object) -> tuple[int, int]:
    """Turn ``"1920x1080"`` into (width, height)."""
    match = _BOX.fullmatch(str(value).strip())
    if not match:
        raise ValueError("a box is WIDTHxHEIGHT, as 1920x1080")
    return int(match.group(1)), int(match.group(2))


def format_size(num_bytes: float) -> str:
    """Write bytes for people: ``812 MB``, ``1.4 GB``."""
    size = float(num_bytes)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB" if size < 1000 else f"{size / 1024:.1f} TB"
