"""Tiles of the latent grid that fit the network's down- and upsampling. Index arithmetic only."""

from __future__ import annotations

from starvsr.windows import Window, split_windows


def axis_of_tiles(cells: int, count: int, overlap: int, step: int, rest: int) -> list[Window]:
    """Cover an axis with about ``count`` equal tiles.

    Args:
        cells: Length of the axis; leaves ``rest`` modulo ``step``.
        count: Tiles wanted; fewer come where tiles that fit the rule are that long.
        overlap: Least number of cells that neighbours share.
        step: Lengths of tiles leave ``rest`` modulo this.
        rest: See ``step``.
    """
    whole = [Window(0, cells, 0, cells)]
    if count == 1:
        return whole
    side = -(-(cells + (count - 1) * overlap) // count)
    side += (rest - side) % step
    while side <= overlap:
        side += step
    return whole if side >= cells else split_windows(cells, side, overlap)
