"""Kinds of regions of an input, by plain measures of small cells: flat, soft, text-like, drawn, textured.

A guide for the eye in reports, no recognition: text-like is what has strong edges between two levels; drawn is what is
even but for sharp edges; soft is what has contrast and no edge that is sharp, as when out of focus (or a smooth
gradient, or a blurred input). Noise and blocks make soft cells textured; outlines side by side look like text.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from starvsr.metrics.metric import ByteArray

Kind = Literal["flat", "soft", "text-like", "drawn", "textured"]
KINDS: tuple[Kind, ...] = ("flat", "soft", "text-like", "drawn", "textured")

CELL_PX = 16
"""Least side of a cell, in pixels of the input."""

_MOST_CELLS = 64
_FLAT_CONTRAST = 12.0
"""Levels between the darkest and the brightest twentieth below which there is nothing to tell."""
_SOFT_SLOPE = 0.2
"""Steepest step, by the contrast, that is soft: that of an edge blurred with a sigma of 2 px."""
_TEXT_CONTRAST, _TEXT_EDGES, _TEXT_AT_ENDS = 90.0, 0.12, 0.65
_DRAWN_CONTRAST, _DRAWN_EVEN, _DRAWN_SLOPE = 24.0, 0.6, 0.35
_EVEN_STEP = 2.0

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def cell_grid(height: int, width: int) -> tuple[int, int]:
    """Return (rows, columns) of the cells of an input: of 16 px at least, and at most 64 to a side."""
    side = max(CELL_PX, -(-max(height, width) // _MOST_CELLS))
    return max(1, height // side), max(1, width // side)


def kinds_of(lq: ByteArray) -> npt.NDArray[np.uint8]:
    """Return the kind of each cell of a frame, as index into :data:`KINDS`.

    Args:
        lq: uint8 [h, w, 3] RGB.

    Returns:
        uint8 [rows, columns] as :func:`cell_grid` says.
    """
    rows, columns = cell_grid(*lq.shape[:2])
    luma = lq @ _LUMA
    steps = np.zeros_like(luma)
    steps[:, 1:] = np.abs(np.diff(luma, axis=1))
    steps[1:] = np.maximum(steps[1:], np.abs(np.diff(luma, axis=0)))
    values, slopes = (_cells(plane, rows, columns) for plane in (luma, steps))
    dark, bright = np.quantile(values, (0.05, 0.95), axis=2)
    contrast = bright - dark
    steepest = np.quantile(slopes, 0.97, axis=2)
    margin = contrast[..., None] / 5
    at_ends = ((values <= dark[..., None] + margin) | (values >= bright[..., None] - margin)).mean(2)
    edges = (slopes > np.maximum(contrast, 1)[..., None] / 4).mean(2)
    even = (slopes <= _EVEN_STEP).mean(2)
    kind = np.full((rows, columns), KINDS.index("textured"), np.uint8)
    is_drawn = (contrast >= _DRAWN_CONTRAST) & (even >= _DRAWN_EVEN) & (steepest >= _DRAWN_SLOPE * contrast)
    kind[is_drawn] = KINDS.index("drawn")
    is_text = (contrast >= _TEXT_CONTRAST) & (edges >= _TEXT_EDGES) & (at_ends >= _TEXT_AT_ENDS)
    kind[is_text] = KINDS.index("text-like")
    kind[(contrast >= _FLAT_CONTRAST) & (steepest <= _SOFT_SLOPE * contrast)] = KINDS.index("soft")
    kind[contrast < _FLAT_CONTRAST] = KINDS.index("flat")
    return kind


def _cells(plane: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Cut a plane into cells [rows, columns, pixels]; what is left over at the right and below belongs to none."""
    height, width = plane.shape[0] // rows, plane.shape[1] // columns
    cut = plane[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return cut.transpose(0, 2, 1, 3).reshape(rows, columns, -1)
