"""Find where sizes do not fit in Matroska and WebM: FFmpeg passes over what lies there without an error."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
# seek head, facts, tracks, clusters, cues, attachments, chapters, tags: these never lie within a cluster
_TOP = frozenset({0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367})
_LONGEST_HEAD = 12  # bytes: identifier and size


def find_fault(path: Path, most: int) -> int | None:
    """Go from element to element, down to the blocks, without reading what is in them.

    Args:
        path: The file.
        most: Elements to look at; where there are more, the rest is taken to be well.

    Returns:
        The byte at which the first element lies that is none, or that ends behind what holds it; None for no fault.
    """
    with path.open("rb", buffering=0) as file:
        return _Walk(file, path.stat().st_size, most).fault()


class _Walk:
    """One look at a file."""

    def __init__(self, file: BinaryIO, size: int, most: int) -> None:
        self._file = file
        self._size = size
        self._left = most

    def fault(self) -> int | None:
        ident, at, stop = self._element(0)
        if ident != _EBML or stop is None:
            return None
        ident, at, stop = self._element(stop)
        if ident != _SEGMENT:
            return None
        end = self._size if stop is None else min(stop, self._size)  # files that are cut off are found elsewhere
        while at < end and self._left > 0:
            ident, body, stop = self._element(at)
            if ident is None or body > end or (stop is not None and stop > end):
                return at
            if ident == _CLUSTER:
                fault, stop = self._in_cluster(body, end if stop is None else stop, is_open=stop is None)
                if fault is not None:
                    return fault
            if stop is None:  # only clusters may be of unknown size
                return at
            at = stop
        return None

    def _in_cluster(self, at: int, end: int, *, is_open: bool) -> tuple[int | None, int]:
        """Go through a cluster: (fault, end); one of unknown size ends where something else begins.

        It has an element for each frame, so their heads are read in place.
        """
        file = self._file
        while at < end and self._left > 0:
            self._left -= 1
            file.seek(at)
            head = file.read(_LONGEST_HEAD)
            width = 9 - head[0].bit_length() if head and head[0] >= 0x10 else 0
            length = 9 - head[width].bit_length() if 0 < width < len(head) else 0
            if is_open and width and int.from_bytes(head[:width], "big") in _TOP:
                return None, at
            if not 0 < length <= min(8, len(head) - width) or int.from_bytes(head[:width], "big") in _TOP:
                return at, end
            size = int.from_bytes(head[width : width + length], "big") & ((1 << 7 * length) - 1)
            stop = at + width + length + size
            if size == (1 << 7 * length) - 1 or stop > end:
                return at, end
            at = stop
        return None, end

    def _element(self, at: int) -> tuple[int | None, int, int | None]:
        """Read the head of an element: (identifier, start of the body, end); None for broken and for unknown ones."""
        self._left -= 1
        self._file.seek(at)
        head = self._file.read(_LONGEST_HEAD)
        width = 9 - head[0].bit_length() if head and head[0] >= 0x10 else 0
        rest = head[width:]
        if not width or not rest or not rest[0]:
            return None, at, None
        length = 9 - rest[0].bit_length()
        if len(rest) < length:
            return None, at, None
        size = int.from_bytes(rest[:length], "big") & ((1 << 7 * length) - 1)
        body = at + width + length
        is_unknown = size == (1 << 7 * length) - 1
        return int.from_bytes(head[:width], "big"), body, None if is_unknown else body + size
