"""3x3 convolutions by Winograd's minimal filtering, for float32 on a processor: a quarter of the multiplications.

A tile of 4x4 results needs 36 products for each pair of channels in place of 144: F(4x4, 3x3) of Lavin and Gray,
"Fast algorithms for convolutional neural networks" (arXiv 1509.09308, section 4). What comes before and behind the
products is linear and the same for all channels, so that each of the three steps is a product of matrices. It pays
from 64 channels to 128 on. Values differ from those of the direct sum by some 5e-6 of the largest one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RESULTS, TILE = 4, 6
"""Sides of a tile: of its results, and of what is read for them."""

TILES_AT_ONCE = 128
"""About: what lies between the steps then stays in the processor's cache."""

_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
"""In units of 1/24."""
_RESULT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def pays(weight: Tensor) -> bool:
    """Return whether a convolution [out, in, 3, 3] is faster in this way; the answer is the same on every processor."""
    out_channels, in_channels = weight.shape[:2]
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and in_channels >= 64 and out_channels >= 128


class WinogradConvolution:
    """A convolution 3x3 of stride 1, zeros around it, with bias and ReLU.

    Args:
        weight: float32 [out, in, 3, 3], on the CPU.
        bias: float32 [out].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        out_channels, in_channels = weight.shape[:2]
        sides = torch.tensor(_KERNEL, dtype=torch.float64) / 24
        kernel = sides @ weight.double() @ sides.T
        self._kernel = kernel.permute(2, 3, 1, 0).reshape(TILE * TILE, in_channels, out_channels).float().contiguous()
        self._bias = bias
        self._into, self._from = (_both_ways(matrix) for matrix in (_INPUT, _RESULT))

    def __call__(self, pictures: Tensor, above: int, below: int) -> Tensor:
        """Return the features.

        Args:
            pictures: float32 [N, in, H, W], channels last.
            above: rows of zeros above, 0 or 1; columns are always padded.
            below: rows of zeros below, 0 or 1.

        Returns:
            [N, out, H - 2 + above + below, W], channels last.
        """
        height, width = pictures.shape[2] - 2 + above + below, pictures.shape[3]
        down, across = -(-height // RESULTS), -(-width // RESULTS)
        spare = (down * RESULTS - height, across * RESULTS - width)
        read = F.pad(pictures.permute(0, 2, 3, 1), (0, 0, 1, 1 + spare[1], above, below + spare[0]))
        found = read.new_empty((len(read), down * RESULTS, across * RESULTS, self._kernel.shape[2]))
        some, rows = max(1, TILES_AT_ONCE // (down * across)), max(1, TILES_AT_ONCE // across)
        for ours, into in zip(read.split(some), found.split(some), strict=True):
            for start in range(0, down, rows):
                grid = (min(rows, down - start), across)
                part = _tiles(ours[:, start * RESULTS :], TILE, grid)
                _tiles(into[:, start * RESULTS :], RESULTS, grid).copy_(self._computed(part))
        return found[:, :height, :width].contiguous().permute(0, 3, 1, 2)

    def _computed(self, tiles: Tensor) -> Tensor:
        """Return the results [4, 4, N, h, w, out] of tiles [6, 6, N, h, w, in]."""
        *grid, in_channels = tiles.shape[2:]
        count, out_channels = math.prod(grid), self._kernel.shape[2]
        values = torch.mm(self._into, tiles.reshape(TILE * TILE, count * in_channels))
        products = torch.bmm(values.view(TILE * TILE, count, in_channels), self._kernel)
        found = torch.mm(self._from, products.view(TILE * TILE, count * out_channels))
        return found.view(RESULTS, RESULTS, *grid, out_channels).add_(self._bias).relu_()


def _both_ways(matrix: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return what a step does with a tile that is written as a column."""
    one_way = torch.tensor(matrix, dtype=torch.float32)
    return torch.kron(one_way, one_way)


def _tiles(rows: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """View rows [N, H, W, C] as tiles [side, side, N, h, w, C] that begin every four pixels."""
    picture, down, across, _ = rows.stride()
    strides = (down, across, picture, RESULTS * down, RESULTS * across, 1)
    return rows.as_strided((side, side, len(rows), *grid, rows.shape[3]), strides)
