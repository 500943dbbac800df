"""Tiles: they cover the frame, and their weights sum to one everywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from starvsr.engine.tiles import grid_of_counts, grid_of_tiles


def _total_weights(grid, scale: int) -> np.ndarray:
    total = np.zeros((grid.height * scale, grid.width * scale))
    for tile in grid.tiles(scale):
        rows = slice(tile.rows.start * scale, tile.rows.stop * scale)
        columns = slice(tile.columns.start * scale, tile.columns.stop * scale)
        down = np.ones(rows.stop - rows.start) if tile.row_weights is None else np.array(tile.row_weights)
        across = np.ones(columns.stop - columns.start) if tile.column_weights is None else np.array(tile.column_weights)
        total[rows, columns] += down[:, None] * across
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 64), st.integers(0, 31), st.sampled_from([1, 2, 4]))
def test_weights_sum_to_one(height: int, width: int, tile: int, overlap: int, scale: int) -> None:
    grid = grid_of_tiles(height, width, tile, min(overlap, (tile - 1) // 2))
    np.testing.assert_allclose(_total_weights(grid, scale), 1, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 300), st.integers(60, 300), st.integers(1, 4), st.integers(1, 4))
def test_counts_are_kept_and_tiles_are_even(height: int, width: int, rows: int, columns: int) -> None:
    grid = grid_of_counts(height, width, rows, columns, overlap=8)
    assert (len(grid.rows), len(grid.columns)) == (rows, columns)
    assert len({w.length for w in grid.rows}) == 1
    np.testing.assert_allclose(_total_weights(grid, 1), 1, atol=1e-9)


def test_one_tile_needs_no_weights() -> None:
    (tile,) = grid_of_tiles(30, 40, None, 0).tiles(4)
    assert (tile.row_weights, tile.column_weights) == (None, None)
    assert (tile.rows, tile.columns) == (slice(0, 30), slice(0, 40))


def test_the_border_of_a_tile_weighs_nothing_where_a_neighbour_sees_more() -> None:
    first = grid_of_tiles(1, 100, 60, 16).tiles(4)[0]
    assert first.column_weights is not None
    assert set(first.column_weights[-4 * 4 :]) == {0.0}
    assert first.column_weights[0] == 1.0


def test_work_counts_overlaps_twice() -> None:
    grid = grid_of_tiles(40, 100, 60, 20)
    assert grid.work_px == 40 * 120
    assert grid.tile_px == 40 * 60
