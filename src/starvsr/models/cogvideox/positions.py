"""Positions of the tokens, for a grid of any size.

Positions are the integers 0, 1, 2, ... along each axis, whatever the size: a tile or window sees the positions that the
network was trained with, and a larger grid continues them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.libraries import library

Grid = tuple[int, int, int]
"""Frames, rows and columns of the tokens."""


def rotary_table(config: TransformerConfig, grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary positions, float32 [T * h * w, attention_head_dim] each.

    A quarter of the channels of a head turns with the time, three eighths each with row and column; theta is 10000.
    """
    frames, rows, columns = grid
    cosines, sines = library("diffusers.models.embeddings").get_3d_rotary_pos_embed(
        config.attention_head_dim, ((0, 0), (rows, columns)), (rows, columns), frames, device=device
    )
    return cosines, sines


def sincos_table(config: TransformerConfig, grid: Grid, device: torch.device) -> Tensor:
    """Return what is added to the image tokens, float32 [T * h * w, width].

    A quarter of the channels tells the time, the others the place, columns first.
    """
    frames, rows, columns = grid
    table: Tensor = library("diffusers.models.embeddings").get_3d_sincos_pos_embed(
        config.width,
        (columns, rows),
        frames,
        config.spatial_interpolation_scale,
        config.temporal_interpolation_scale,
        device=device,
        output_type="pt",
    )
    return table.flatten(0, 1).float()
