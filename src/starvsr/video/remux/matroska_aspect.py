"""Write the display size into a finished Matroska or WebM file.

FFmpeg's writer takes the aspect ratio from a field of the stream that PyAV cannot set, and VP9 and AV1
carry none themselves. So the stream is given a turn by 180 degrees, which makes a Projection element of
14 bytes, and these bytes are replaced by DisplayWidth and DisplayHeight, which take exactly as many.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

PLACEHOLDER_DEGREES = 180
_HEAD = 1 << 20  # the track list lies within the first bytes
_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_PROJECTION, _DISPLAY_UNIT, _CRC = 0x7670, 0x54B2, 0xBF
_UNIT_IS_RATIO = 3


def write_aspect(path: Path, width: int, height: int, aspect: Fraction) -> bool:
    """Replace the placeholder by the display size.

    Args:
        path: The finished file.
        width: Coded width in pixels.
        height: Coded height in pixels.
        aspect: Sample aspect ratio.

    Returns:
        Whether the placeholder was found.
    """
    with path.open("r+b") as file:
        data = bytearray(file.read(_HEAD))
        tracks = _find(data, [_SEGMENT, _TRACKS])
        video = _find(data, [_SEGMENT, _TRACKS, _ENTRY, _VIDEO])
        if tracks is None or video is None:
            return False
        parts = {ident: (head, body, stop) for ident, head, body, stop in _children(data, *video)}
        if _PROJECTION not in parts or parts[_PROJECTION][2] - parts[_PROJECTION][0] != 14:
            return False
        shown = aspect * Fraction(width, height)
        if _DISPLAY_UNIT in parts:
            data[parts[_DISPLAY_UNIT][1]] = _UNIT_IS_RATIO
            size = (shown.numerator, shown.denominator)
        else:
            size = (round(width * aspect), height)
        element = b"\x54\xb0\x84" + size[0].to_bytes(4, "big") + b"\x54\xba\x84" + size[1].to_bytes(4, "big")
        start = parts[_PROJECTION][0]
        data[start : start + 14] = element
        _renew_checksum(data, *tracks)
        file.seek(0)
        file.write(data)
    return True


def element_body(data: bytes, *path: bytes) -> bytes | None:
    """Follow identifiers down from the top of a small file and give what is in the last one; None where it is not."""
    start, stop = 0, len(data)
    for wanted in path:
        children = _children(bytearray(data), start, stop)
        found = next(((body, end) for ident, _, body, end in children if ident == int.from_bytes(wanted, "big")), None)
        if found is None:
            return None
        start, stop = found[0], min(found[1], len(data))
    return data[start:stop]


def _find(data: bytearray, path: list[int]) -> tuple[int, int] | None:
    """Follow identifiers down from the top; give (start, stop) of the body of the last one."""
    start, stop = 0, len(data)
    for wanted in path:
        for ident, _, body, end in _children(data, start, stop):
            if ident == wanted and (ident != _ENTRY or _find(data[body:end], [_VIDEO])):
                start, stop = body, min(end, len(data))
                break
        else:
            return None
    return start, stop


def _children(data: bytearray, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (identifier, start of the element, start of its body, end) within a range."""
    at = start
    while at + 2 <= stop:
        ident, body = _number(data, at, keep_marker=True)
        size, body = _number(data, body, keep_marker=False)
        end = len(data) if size is None else body + size
        if ident is None:
            return
        yield ident, at, body, end
        at = end


def _number(data: bytearray, at: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """Read a variable-length number of EBML; None for "unknown" or a broken one."""
    if at >= len(data) or data[at] == 0:
        return None, at + 1
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    if keep_marker:
        return value, at + length
    value &= (1 << (7 * length)) - 1
    return (None if value == (1 << (7 * length)) - 1 else value), at + length


def _renew_checksum(data: bytearray, start: int, stop: int) -> None:
    """Compute the CRC-32 of a master element anew where it has one (always its first child)."""
    for ident, _, body, end in _children(data, start, stop):
        if ident == _CRC:
            data[body:end] = zlib.crc32(data[end:stop]).to_bytes(4, "little")
        return
