"""The orientation of photos, from their EXIF data, which keeps PyAV from listing the display matrix beside it."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

Turn = tuple[int, int, int, int]
"""(a, b, c, d): the stored pixel (x, y) is shown at (a x + c y, b x + d y)."""

_ORIENTATION = 0x0112
_TURNS: dict[int, Turn] = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def exif_turn(path: Path) -> Turn | None:
    """Read how a photo is turned and mirrored (EXIF tag 0x0112); None where Pillow finds nothing."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                return _TURNS.get(int(image.getexif().get(_ORIENTATION, 0)))
        except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, RuntimeError, struct.error):
            return None
        except Image.DecompressionBombError:
            return None
