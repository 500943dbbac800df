"""3x3 convolutions by Winograd's minimal filtering, for float32 on a processor: a quarter of the multiplications.

A tile of 4x4 results needs 36 products for each pair of channels in place of 144: F(4x4, 3x3) of Lavin and Gray,
"Fast algorithms for convolutional neural networks" (arXiv 1509.09308, section 4). What comes before and behind the
products is linear and the same for all channels, so that each of the three steps is a product of matrices. It pays
from 64 channels to 128 on. Values differ from those of the direct sum by some 3e-6 of the largest one. Not for
bfloat16: the steps magnify what it rounds, and nearly equal pictures would come out several times too far apart.

The products are oneDNN's where PyTorch has its operation for them (it is meant for PyTorch's compiler, so it is tried
first): with kernels in oneDNN's own order, twice as fast on processors on which PyTorch's other library does not use
AVX-512.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

RESULTS, TILE = 4, 6
"""Sides of a tile: of its results, and of what is read for them."""

TILES_AT_ONCE = 128
"""About: what lies between the steps then stays in the processor's cache."""

_POINTS = (0.0, 1.0, -1.0, 2.0, -0.5)
"""Where the polynomials are multiplied, beside infinity. With 2 and -2, as usual, errors are half as large again."""

_EVERYWHERE = TILE * _POINTS.index(1) + _POINTS.index(1)
"""The product that adds to all results of a tile alike: what the bias is added to."""


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
        self._out_channels = out_channels
        into, of_kernel, out_of = _matrices()
        kernel = of_kernel @ weight.double() @ of_kernel.T
        kernel = kernel.permute(2, 3, 1, 0).reshape(TILE * TILE, in_channels, out_channels).float()
        self._products = _products(kernel)
        self._bias = bias
        # both ways at once, of a tile that is written as a column
        self._into, self._from = (torch.kron(matrix, matrix).float() for matrix in (into, out_of))

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
        found = read.new_empty((len(read), down * RESULTS, across * RESULTS, self._out_channels))
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
        count, out_channels = math.prod(grid), self._out_channels
        values = torch.mm(self._into, tiles.reshape(TILE * TILE, count * in_channels))
        products = self._products(values.view(TILE * TILE, count, in_channels))
        products[_EVERYWHERE].add_(self._bias)
        found = torch.mm(self._from, products.view(TILE * TILE, count * out_channels))
        return found.view(RESULTS, RESULTS, *grid, out_channels).relu_()


def _products(kernel: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what multiplies tiles [36, count, in] by a kernel [36, in, out], position by position."""
    if _can_prepare():
        return partial(_prepared_products, prepared=[_prepared(matrix) for matrix in kernel])
    return partial(torch.bmm, mat2=kernel.contiguous())


def _prepared_products(values: Tensor, *, prepared: Sequence[Tensor]) -> Tensor:
    operation: Any = torch.ops.mkldnn._linear_pointwise
    return torch.stack([operation(one, by, None, "none", [], "") for one, by in zip(values, prepared, strict=True)])


def _prepared(matrix: Tensor) -> Tensor:
    reorder: Any = torch.ops.mkldnn._reorder_linear_weight
    found: Tensor = reorder(matrix.t().contiguous(), TILES_AT_ONCE)
    return found


@lru_cache(maxsize=1)
@torch.inference_mode()
def _can_prepare() -> bool:
    """Return whether the operations are there and compute products, on small matrices."""
    if not torch.backends.mkldnn.is_available():
        return False
    values = torch.linspace(-1, 1, 5 * 64).view(1, 5, 64).sin()
    matrix = torch.linspace(-2, 1, 64 * 128).view(64, 128).cos()
    try:
        found = _prepared_products(values, prepared=[_prepared(matrix)])
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    return torch.allclose(found[0], values[0] @ matrix, rtol=1e-5, atol=1e-5)


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return what is done with tiles [6, 6], kernels [6, 3] and products [4, 6] along one side, in float64.

    By Toom and Cook: a convolution is a product of polynomials, known from its values at the points and at infinity.
    Transposed, the same steps give the sums of a filter.
    """
    points = torch.tensor(_POINTS, dtype=torch.float64)
    others = [torch.cat([points[:i], points[i + 1 :]]) for i in range(len(points))]
    into = torch.zeros(TILE, TILE, dtype=torch.float64)
    for row, roots in zip(into, [*others, points], strict=True):
        row[: len(roots) + 1] = _polynomial(roots)
    scales = torch.stack([(point - rest).prod() for point, rest in zip(points, others, strict=True)])
    of_kernel = _powers(points, TILE - RESULTS + 1) / torch.cat([scales, torch.ones(1)])[:, None]
    return into, of_kernel, _powers(points, RESULTS).T


def _polynomial(roots: Tensor) -> Tensor:
    """Return the coefficients of the polynomial with these roots, the lowest power first."""
    found = torch.ones(1, dtype=roots.dtype)
    for root in roots:
        found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
    return found


def _powers(points: Tensor, count: int) -> Tensor:
    """Return the powers of each point from 0 on, and of infinity: the highest one alone."""
    return torch.cat([points[:, None] ** torch.arange(count), torch.eye(count)[-1:]])


def _tiles(rows: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """View rows [N, H, W, C] as tiles [side, side, N, h, w, C] that begin every four pixels."""
    picture, down, across, _ = rows.stride()
    strides = (down, across, picture, RESULTS * down, RESULTS * across, 1)
    return rows.as_strided((side, side, len(rows), *grid, rows.shape[3]), strides)
