"""Pixel ranges: the only place where media integers become network floats and back.

Integers are always full range: uint8 counts to 255 and uint16 to 65535, whatever the depth of the
media (a 10-bit file is spread over the 16 bits, so that nothing is lost and every array explains
itself by its type). Networks see float32 in [-1, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def dtype_for(bit_depth: int) -> type[np.uint8] | type[np.uint16]:
    """Name the integer type that frames of a depth are kept in: uint8 up to 8 bits, else uint16."""
    return np.uint8 if bit_depth <= 8 else np.uint16


def to_8_bits(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Round uint16 pixels of any shape to uint8; uint8 ones are returned as they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_unit(frames: NDArray[np.uint8] | NDArray[np.uint16], bit_depth: int | None = None) -> torch.Tensor:
    """Turn media frames into what networks see.

    Args:
        frames: [T, H, W, C] uint8 (0..255) or uint16 (0..65535).
        bit_depth: Checked against the type of ``frames`` when given; the type alone sets the scale.

    Returns:
        float32 [C, T, H, W] in [-1, 1].

    Raises:
        ValueError: The array is not [T, H, W, C] of uint8 or uint16, or its type is not that of ``bit_depth``.
    """
    import torch

    if frames.ndim != 4 or frames.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"frames must be [T, H, W, C] of uint8 or uint16, got {list(frames.shape)} {frames.dtype}")
    if bit_depth is not None and frames.dtype != dtype_for(bit_depth):
        raise ValueError(f"frames of {bit_depth} bits are {np.dtype(dtype_for(bit_depth))}, got {frames.dtype}")
    top = float(np.iinfo(frames.dtype).max)
    planar = np.ascontiguousarray(frames.transpose(3, 0, 1, 2), dtype=np.float32)  # [C, T, H, W]
    return torch.from_numpy(planar).mul_(2.0 / top).sub_(1.0)


def from_unit(frames: torch.Tensor, bit_depth: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Turn what a network gave into media frames; values are rounded, not cut.

    Args:
        frames: float [C, T, H, W]; values outside [-1, 1] are clamped, NaN becomes black.
        bit_depth: Depth of the media: up to 8 gives uint8 (0..255), more gives uint16 (0..65535).

    Returns:
        [T, H, W, C] uint8 or uint16, contiguous.

    Raises:
        ValueError: ``frames`` is not 4-D.
    """
    import torch

    if frames.ndim != 4:
        raise ValueError(f"frames must be [C, T, H, W], got {list(frames.shape)}")
    dtype = dtype_for(bit_depth)
    top = float(np.iinfo(dtype).max)
    scaled = frames.detach().to(device="cpu", dtype=torch.float32).add(1.0).mul_(top / 2.0)
    scaled = scaled.nan_to_num_(nan=0.0).round_().clamp_(0.0, top).permute(1, 2, 3, 0)
    array: Any = scaled.to(torch.uint8 if dtype is np.uint8 else torch.int32).contiguous().numpy()
    return array.astype(dtype, copy=False)
