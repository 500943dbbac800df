"""The VGG feature distance in windows of a frame: some of its cells, each computed with a margin around it.

Cells begin at multiples of 16 px, so that features lie where those of the whole frame do. Borders of the frame are
those of the whole frame, too. What a cell's features see beyond the margin is zero: layer for layer they see 2, 7, 20,
46 and 98 px around them, but what is far away counts little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from starvsr.models.vgg16_distance import Layers, distance_sum, exact_convolutions, halve
from starvsr.models.workers import workers

UNIT_PX = 16
"""Of a frame behind one position of the deepest features."""

READ_PX = 192
"""Columns that are read around a cell at least. oneDNN takes ten times as long for some widths of maps (18, 21, 41),
but not for those of this one's halves."""


@dataclass(frozen=True)
class Cell:
    """A part of a frame, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


def cells_of(height: int, width: int, cell_px: int) -> list[Cell]:
    """Cut a frame into cells of about `cell_px`; sides are multiples of 16 px and differ by 16, but at the end."""
    rows, columns = _edges(height, cell_px), _edges(width, cell_px)
    return [Cell(top, bottom, left, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def _edges(side: int, cell_px: int) -> list[int]:
    units = -(-side // UNIT_PX)
    count = max(1, round(units * UNIT_PX / cell_px))
    return [*(round(index * units / count) * UNIT_PX for index in range(count)), side]


@torch.inference_mode()
def cell_distances(
    layers: Layers, mean: Tensor, frames: tuple[Tensor, Tensor], cells: Sequence[Cell], margin_px: int
) -> tuple[Tensor, Tensor]:
    """Compute the distance of two frames within cells, layer by layer.

    Args:
        layers: of :func:`starvsr.models.vgg16_distance.layers_of`.
        mean: of the trunk, BGR.
        frames: both frames, RGB in [0, 255], [3, H, W].
        cells: of :func:`cells_of`.
        margin_px: what is read around each at least, a multiple of 16.

    Returns:
        float64 [cells, layers] each: squared distances summed over positions, on the frames' device; and how many
        positions there are, on the CPU.
    """
    features: dict[tuple[int, int], list[Tensor]] = {}

    def compute(index: int, side: int) -> None:
        features[index, side] = _features(layers, mean, frames[side], cells[index], margin_px)

    with exact_convolutions(mean.device), workers(mean.device) as threads:
        threads.run(partial(compute, index, side) for index in range(len(cells)) for side in (0, 1))
    sums = [
        torch.stack([distance_sum(*pair)[0] for pair in zip(features[index, 0], features[index, 1], strict=True)])
        for index in range(len(cells))
    ]
    counts = [[_positions(cell, depth) for depth in range(len(layers))] for cell in cells]
    return torch.stack(sums), torch.tensor(counts, dtype=torch.float64)


def _features(layers: Layers, mean: Tensor, frame: Tensor, cell: Cell, margin_px: int) -> list[Tensor]:
    """Return the features of a cell, [1, C, h, w] for each block."""
    above = max(0, cell.top - margin_px)
    beside, end = _columns(cell, frame.shape[2], margin_px)
    read = frame[None, :, above : cell.bottom + margin_px, beside:end]
    maps = (read.float().flip(1) - mean).to(layers[0][0].dtype).contiguous(memory_format=torch.channels_last)
    found = []
    for depth, block in enumerate(layers):
        if depth:
            maps = _halved(maps)
        for layer in block:
            maps = layer(maps)
        scale = 2**depth
        rows = slice((cell.top - above) // scale, -(-(cell.bottom - above) // scale))
        columns = slice((cell.left - beside) // scale, -(-(cell.right - beside) // scale))
        found.append(maps[:, :, rows, columns].clone(memory_format=torch.channels_last))  # not the margin's memory
    return found


def _columns(cell: Cell, width: int, margin_px: int) -> tuple[int, int]:
    """Return which columns are read around a cell: those of the margin, and more up to `READ_PX` where there are."""
    start, end = max(0, cell.left - margin_px), min(width, cell.right + margin_px)
    lacking = READ_PX - (end - start)
    if lacking <= 0 or width < READ_PX:
        return start, end
    start = max(0, start - lacking // 2 // UNIT_PX * UNIT_PX)
    if start + READ_PX <= width:
        return start, start + READ_PX
    return (width - READ_PX) // UNIT_PX * UNIT_PX, width


def _halved(features: Tensor) -> Tensor:
    count, channels, height, width = features.shape
    into = torch.empty(
        (count, channels, -(-height // 2), -(-width // 2)),
        dtype=features.dtype,
        device=features.device,
        memory_format=torch.channels_last,
    )
    halve(features, into)
    return into


def _positions(cell: Cell, depth: int) -> int:
    scale = 2**depth
    sides = (-(-end // scale) - start // scale for start, end in ((cell.top, cell.bottom), (cell.left, cell.right)))
    height, width = sides
    return height * width
