"""Tiles of frames in latent cells, and how many the network was trained to see. Index arithmetic only."""

from __future__ import annotations

from starvsr.windows import STRETCH, Window, split_windows

TOKEN = 2
"""Cells along each side of a token of the transformer."""
TRAINED_CELLS = 60, 90
"""Rows and columns of the latents that the published network was trained with: 480x720 pixels."""
CELL_PX, FRAMES_PER_LATENT = 8, 4


def axis_of_tiles(cells: int, count: int, overlap: int, step: int = TOKEN) -> list[Window]:
    """Cut an axis into equal tiles that overlap.

    Args:
        cells: Length of the axis, a multiple of ``step``.
        count: Most tiles.
        overlap: Cells that neighbours share at least.
        step: Tiles begin and end at multiples of it.
    """
    units, shared = cells // step, -(-overlap // step)
    side = -(-(units + (count - 1) * shared) // count)
    if count == 1 or side >= units:
        return [Window(0, cells, 0, cells)]
    windows = split_windows(units, side, min(shared, side - 1))
    return [Window(step * w.start, step * w.stop, step * w.keep_start, step * w.keep_stop) for w in windows]


def trained_tiles(rows: int, columns: int, overlap: int) -> tuple[int, int]:
    """Return rows and columns of tiles that are about as large as the network was trained with.

    A frame that is up to a quarter longer stays in one piece along that axis.
    """
    counts = (
        1 if cells <= trained * (1 + STRETCH) else -(-(cells - overlap) // (trained - overlap))
        for cells, trained in zip((rows, columns), TRAINED_CELLS, strict=True)
    )
    tiles_down, tiles_across = counts
    return tiles_down, tiles_across


def longest(windows: list[Window]) -> int:
    """Return the cells of the longest window."""
    return max(window.length for window in windows)


def latent_count(num_frames: int) -> int:
    """Return the latent frames of 4k + 1 frames."""
    return (num_frames - 1) // FRAMES_PER_LATENT + 1
