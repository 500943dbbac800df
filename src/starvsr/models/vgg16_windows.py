"""The VGG feature distance in windows of a frame: some of its cells, each computed with a margin around it.

Cells begin at multiples of 16 px, so that features lie where those of the whole frame do. Borders of the frame are
those of the whole frame, too. What a cell's features see beyond the margin is zero: layer for layer they see 2, 7, 20,
46 and 98 px around them, but what is far away counts little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from starvsr.models.vgg16_distance import Layers, distance_sum, exact_convolutions, halve
from starvsr.models.workers import workers

UNIT_PX = 16
"""Of a frame behind one position of the deepest features."""


@dataclass(frozen=True)
class Cell:
    """A part of a frame, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


def cells_of(height: int, width: int, cell_px: int) -> list[Cell]:
    """Cut a frame into cells of `cell_px` at most; sides are multiples of 16 px and differ by 16, but at the end."""
    rows, columns = _edges(height, cell_px), _edges(width, cell_px)
    return [Cell(top, bottom, left, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def _edges(side: int, cell_px: int) -> list[int]:
    units = -(-side // UNIT_PX)
    count = -(-units * UNIT_PX // cell_px)
    return [*(round(index * units / count) * UNIT_PX for index in range(count)), side]


@torch.inference_mode()
def cell_distances(
    layers: Layers,
    mean: Tensor,
    frames: tuple[Tensor, Tensor],
    cells: Sequence[Cell],
    *,
    margin_px: int,
    read_px: int = UNIT_PX,
) -> tuple[Tensor, Tensor]:
    """Compute the distance of two frames within cells, layer by layer.

    Args:
        layers: of :func:`starvsr.models.vgg16_distance.layers_of`.
        mean: of the trunk, BGR.
        frames: both frames, RGB in [0, 255], [3, H, W].
        cells: of :func:`cells_of`.
        margin_px: what is read around each at least, a multiple of 16.
        read_px: side of what is read of a frame for a cell at least, where the frame has it, a multiple of 16. Cells
            with windows of one size are computed together.

    Returns:
        float64 [cells, layers] each: squared distances summed over positions, on the frames' device; and how many
        positions there are, on the CPU.
    """
    height, width = frames[0].shape[1:]
    windows = [
        Cell(
            *_window(cell.top, cell.bottom, height, margin_px, read_px),
            *_window(cell.left, cell.right, width, margin_px, read_px),
        )
        for cell in cells
    ]
    alike: dict[tuple[int, int], list[int]] = {}
    for index, window in enumerate(windows):
        alike.setdefault((window.bottom - window.top, window.right - window.left), []).append(index)
    features: dict[tuple[int, int], list[Tensor]] = {}

    def compute(group: Sequence[int], side: int) -> None:
        read = [frames[side][:, one.top : one.bottom, one.left : one.right] for one in (windows[i] for i in group)]
        for depth, maps in enumerate(_features(layers, mean, torch.stack(read))):
            for place, index in enumerate(group):
                rows, columns = _within(cells[index], windows[index], 2**depth)
                part = maps[place : place + 1, :, rows, columns].clone(memory_format=torch.channels_last)
                features.setdefault((index, side), []).append(part)  # not the margin's memory

    with exact_convolutions(mean.device), workers(mean.device) as threads:
        threads.run(partial(compute, group, side) for group in alike.values() for side in (0, 1))
    sums = [
        torch.stack([distance_sum(*pair)[0] for pair in zip(features[index, 0], features[index, 1], strict=True)])
        for index in range(len(cells))
    ]
    counts = [[_positions(cell, depth) for depth in range(len(layers))] for cell in cells]
    return torch.stack(sums), torch.tensor(counts, dtype=torch.float64)


def _features(layers: Layers, mean: Tensor, windows: Tensor) -> Iterator[Tensor]:
    """Yield the features of windows [N, 3, h, w], [N, C, h, w] for each block."""
    maps = (windows.float().flip(1) - mean).to(layers[0][0].dtype).contiguous(memory_format=torch.channels_last)
    for depth, block in enumerate(layers):
        if depth:
            maps = _halved(maps)
        for layer in block:
            maps = layer(maps)
        yield maps


def _window(start: int, end: int, side: int, margin_px: int, read_px: int) -> tuple[int, int]:
    """Return what is read along a side of the frame for the part of a cell that lies there."""
    start, end = max(0, start - margin_px), min(side, end + margin_px)
    lacking = min(read_px, side) - (end - start)
    if lacking <= 0:
        return start, end
    start = max(0, start - lacking // 2 // UNIT_PX * UNIT_PX)
    if start + read_px <= side:
        return start, start + read_px
    return max(0, (side - read_px) // UNIT_PX * UNIT_PX), side


def _within(cell: Cell, window: Cell, scale: int) -> tuple[slice, slice]:
    """Return where a cell lies in the features of its window."""
    rows = slice((cell.top - window.top) // scale, -(-(cell.bottom - window.top) // scale))
    return rows, slice((cell.left - window.left) // scale, -(-(cell.right - window.left) // scale))


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
