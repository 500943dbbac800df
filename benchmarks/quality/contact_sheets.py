"""Pictures for looking at results: rows of crops with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

ByteArray = npt.NDArray[np.uint8]

_LABEL_PX = 16
_GAP_PX = 4


@dataclass(frozen=True)
class Row:
    """One row of a sheet: a label and named pictures, each uint8 [h, w, 3]; all rows name the same columns."""

    label: str
    pictures: dict[str, ByteArray]


def detailed_window(picture: ByteArray, width: int, height: int, margin: int = 8) -> tuple[int, int]:
    """Find the corner (left, top) of the window with the strongest edges, at least `margin` px off the border.

    Positions are multiples of 4, so that the window of the low-quality frame is whole.
    """
    luma = picture.astype(np.float64).mean(-1)
    edges = np.abs(np.diff(luma, axis=0, append=luma[-1:])) + np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    sums = np.pad(edges, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    tops = range(_up4(margin), max(picture.shape[0] - height - margin, 0) + 1, 4) or range(1)
    lefts = range(_up4(margin), max(picture.shape[1] - width - margin, 0) + 1, 4) or range(1)

    def energy(left: int, top: int) -> float:
        bottom, right = min(top + height, luma.shape[0]), min(left + width, luma.shape[1])
        return float(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])

    return max(((left, top) for top in tops for left in lefts), key=lambda corner: energy(*corner))


def window(picture: ByteArray, left: int, top: int, width: int, height: int) -> ByteArray:
    """Cut a window out of [H, W, 3]; smaller where the picture ends."""
    return picture[top : top + height, left : left + width]


def enlarge_nearest(picture: ByteArray, factor: int) -> ByteArray:
    """Repeat every pixel, to show what the input holds."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def save_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as one PNG: a header with the column names, a label above each row."""
    columns = list(rows[0].pictures)
    cell_width = max(p.shape[1] for row in rows for p in row.pictures.values()) + _GAP_PX
    cell_height = max(p.shape[0] for row in rows for p in row.pictures.values()) + _LABEL_PX + _GAP_PX
    sheet = Image.new("RGB", (cell_width * len(columns), cell_height * len(rows) + _LABEL_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(columns):
        draw.text((i * cell_width + 2, 2), name, fill="black")
    for j, row in enumerate(rows):
        top = _LABEL_PX + j * cell_height
        draw.text((2, top + 2), row.label, fill="black")
        for i, name in enumerate(columns):
            sheet.paste(Image.fromarray(row.pictures[name]), (i * cell_width, top + _LABEL_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _up4(value: int) -> int:
    return -(-value // 4) * 4
