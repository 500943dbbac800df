"""The cut of a denoiser in space: tiles of a frame are denoised one after the other, clean estimates blended.

Attention reaches over a whole tile. Noise is one field over the whole frame, and tiles are blended at every step, so
that neighbours agree on what they share.

Source: MultiDiffusion (arXiv 2302.08113), with ramps for weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from starvsr.diffusion.denoiser import Denoise
from starvsr.windows import Window, blend_weights

Tile = tuple[Window, Window]
"""Rows and columns of the latents."""


def in_tiles(denoise_for: Callable[[Tile], Denoise], rows: Sequence[Window], columns: Sequence[Window]) -> Denoise:
    """Denoise a frame tile by tile and blend the clean estimates.

    Args:
        denoise_for: Builds the denoiser of one tile, with its control cut to it.
        rows: Windows that cover the rows of the latents [B, C, T, h, w].
        columns: Windows that cover the columns.

    Returns:
        A denoiser of whole frames. One tile is passed through as it is.
    """
    tiles = list(product(rows, columns))
    parts = [denoise_for(tile) for tile in tiles]
    if len(parts) == 1:
        return parts[0]
    weights = [
        torch.tensor(row)[:, None] * torch.tensor(column)
        for row, column in product(blend_weights(rows, "cosine"), blend_weights(columns, "cosine"))
    ]

    def denoise(x: Tensor, level: float) -> Tensor:
        x0 = torch.zeros_like(x)
        for part, (row, column), weight in zip(parts, tiles, weights, strict=True):
            place = (..., slice(row.start, row.stop), slice(column.start, column.stop))
            x0[place] += part(x[place], level) * weight.to(x)
        return x0

    return denoise
