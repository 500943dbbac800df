"""The cut in space: overlapping tiles of a frame and the weights that blend them. Index arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from starvsr.windows import Window, blend_weights, split_windows


@dataclass(frozen=True)
class Tile:
    """One tile: the input rows and columns that the network sees, and the weight of each row and column.

    Weights are those of the enlarged tile; the weights of all tiles sum to 1 at each output pixel. None means
    1 everywhere.
    """

    rows: slice
    columns: slice
    row_weights: tuple[float, ...] | None
    column_weights: tuple[float, ...] | None


@dataclass(frozen=True)
class TileGrid:
    """Tiles that cover a frame of ``height`` x ``width`` input pixels."""

    height: int
    width: int
    rows: tuple[Window, ...]
    columns: tuple[Window, ...]

    @property
    def num_tiles(self) -> int:
        """How many tiles a frame has."""
        return len(self.rows) * len(self.columns)

    @property
    def tile_px(self) -> int:
        """Input pixels of the largest tile."""
        return max(w.length for w in self.rows) * max(w.length for w in self.columns)

    @property
    def work_px(self) -> int:
        """Input pixels of all tiles together: the frame's, and those that overlap once more."""
        return sum(w.length for w in self.rows) * sum(w.length for w in self.columns)

    def tiles(self, scale: int) -> list[Tile]:
        """Return the tiles in reading order, with weights for an enlargement by ``scale``."""
        rows = list(zip(self.rows, _weights(self.rows, scale), strict=True))
        columns = list(zip(self.columns, _weights(self.columns, scale), strict=True))
        return [
            Tile(slice(row.start, row.stop), slice(column.start, column.stop), row_weights, column_weights)
            for (row, row_weights), (column, column_weights) in product(rows, columns)
        ]


def grid_of_tiles(height: int, width: int, tile: int | None, overlap: int) -> TileGrid:
    """Cover a frame with tiles of at most ``tile`` input pixels a side; None leaves it in one piece."""
    return TileGrid(height, width, _axis(height, tile, overlap), _axis(width, tile, overlap))


def grid_of_counts(height: int, width: int, num_rows: int, num_columns: int, overlap: int) -> TileGrid:
    """Cover a frame with a given number of rows and columns of equal tiles."""
    return TileGrid(
        height,
        width,
        _axis(height, _side(height, num_rows, overlap), overlap),
        _axis(width, _side(width, num_columns, overlap), overlap),
    )


def _side(length: int, count: int, overlap: int) -> int | None:
    return None if count == 1 else -(-(length + (count - 1) * overlap) // count)


def _axis(length: int, tile: int | None, overlap: int) -> tuple[Window, ...]:
    if tile is None or tile >= length:
        return (Window(0, length, 0, length),)
    return tuple(split_windows(length, tile, min(overlap, tile - 1)))


def _weights(windows: tuple[Window, ...], scale: int) -> list[tuple[float, ...] | None]:
    """Blend along one axis; the outer quarter of each overlap, where a tile lacks context, weighs nothing."""
    if len(windows) == 1:
        return [None]
    inner = []
    for i, w in enumerate(windows):
        before = (windows[i - 1].stop - w.start) // 4 if i else 0
        after = (w.stop - windows[i + 1].start) // 4 if i + 1 < len(windows) else 0
        bounds = (w.start + before, w.stop - after, w.keep_start, w.keep_stop)
        inner.append(Window(*(scale * bound for bound in bounds)))
    blended = blend_weights(inner)
    return [
        _zeros(part.start - scale * w.start) + tuple(weights) + _zeros(scale * w.stop - part.stop)
        for w, part, weights in zip(windows, inner, blended, strict=True)
    ]


def _zeros(count: int) -> tuple[float, ...]:
    return (0.0,) * count
