"""Grids of tiles for plans. Index arithmetic only."""

from __future__ import annotations

_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)


def grids(height: int, width: int, shortest: int) -> list[tuple[int, int]]:
    """List rows and columns of roughly square tiles: for each number of tiles the grid with the shortest border.

    Args:
        height: Rows of a frame.
        width: Columns.
        shortest: Shortest side of a tile.
    """
    best: dict[int, tuple[float, tuple[int, int]]] = {}
    for rows in _counts(height, shortest):
        for columns in _counts(width, shortest):
            border = rows * width + columns * height
            known = best.get(rows * columns)
            if known is None or border < known[0]:
                best[rows * columns] = border, (rows, columns)
    return [grid for _, grid in best.values()]


def _counts(cells: int, shortest: int) -> list[int]:
    return [count for count in _COUNTS if count == 1 or cells // count >= shortest]


def tiles_of_side(side: int, overlap: int, height: int, width: int) -> tuple[int, int]:
    """Return how many rows and columns of tiles of about ``side`` cells cover a frame.

    An axis that is not longer than the overlap stays whole: tiles that share so much would be as long.
    """
    rows, columns = (
        1 if cells <= max(side, overlap) else -(-(cells - overlap) // max(1, side - overlap))
        for cells in (height, width)
    )
    return rows, columns
