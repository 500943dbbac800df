"""Digests of media files by their content, at bounded cost; names and times of files do not count.

Up to 64 MB are read whole; of larger files the size, both ends and 62 places between. Where many clips are looked at
whenever a program starts, a quick digest reads at most 4 MB of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WHOLE, _QUICK = 64 << 20, 4 << 20
_SAMPLES, _SAMPLE_BYTES = 64, 256 << 10
_MOST_IMAGES, _QUICK_IMAGES = 256, 4  # of a folder, about as many are looked into; of all, the size


def files_fingerprint(files: Sequence[Path], *, quick: bool = False) -> dict[str, Any]:
    """Return the size in bytes, the number of files and a SHA-256 over content, of the files of one clip in order.

    Args:
        files: A video, or the images of a clip.
        quick: Read 4 MB at most, in 16 places, or a few of the images.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    step = max(1, -(-len(files) // (_QUICK_IMAGES if quick else _MOST_IMAGES)))
    whole = _SAMPLE_BYTES * 4 if len(files) > 1 else _QUICK if quick else _WHOLE
    total = 0
    for number, file in enumerate(files):
        size = file.stat().st_size
        total += size
        digest.update(size.to_bytes(8, "big"))
        if number % step == 0 or number == len(files) - 1:
            _add_content(digest, file, size, whole)
    return {"bytes": total, "files": len(files), "sha256": digest.hexdigest()}


def file_fingerprint(file: Path) -> dict[str, Any]:
    """Return the size in bytes and a SHA-256 over the content of one file.

    Raises:
        OSError: It cannot be read.
    """
    digest, size = hashlib.sha256(), file.stat().st_size
    _add_content(digest, file, size, _WHOLE)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _add_content(digest: Any, file: Path, size: int, whole: int) -> None:
    with file.open("rb") as handle:
        if size <= whole:
            while block := handle.read(1 << 20):
                digest.update(block)
            return
        count = max(2, min(_SAMPLES, whole // _SAMPLE_BYTES))
        for number in range(count):
            handle.seek((size - _SAMPLE_BYTES) * number // (count - 1))
            digest.update(handle.read(_SAMPLE_BYTES))
