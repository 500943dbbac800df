"""What DOVER sees of a frame: a mosaic of raw fragments, and the whole frame made small.

Source: Wu et al. 2023 (arXiv 2211.04894), sizes as in its published configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray

VIEW_PX = 224
GRID, FRAGMENT_PX = 7, 32


def aesthetic_view(frame: ByteArray) -> ByteArray:
    """Resize a frame to 224x224 without keeping its aspect, bilinear without antialiasing, rounded.

    Args:
        frame: uint8 [H, W, 3].

    Returns:
        uint8 [224, 224, 3].
    """
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    small = F.interpolate(picture, (VIEW_PX, VIEW_PX), mode="bilinear", align_corners=False, antialias=False)
    return np.asarray(small[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy())


def enlarged(frame: ByteArray) -> ByteArray:
    """Enlarge a frame of which a side is below 224 px so that the shorter side has 224, bilinear, rounded down.

    Args:
        frame: uint8 [H, W, 3].

    Returns:
        The frame itself where both sides are large enough.
    """
    ratio = min(frame.shape[0], frame.shape[1]) / VIEW_PX
    if ratio >= 1:
        return frame
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255
    large = F.interpolate(picture, scale_factor=1 / ratio, mode="bilinear", align_corners=False) * 255
    return np.asarray(large[0].byte().permute(1, 2, 0).contiguous().numpy())


@dataclass(frozen=True)
class FragmentGrid:
    """Where the fragments of a run of frames lie.

    Args:
        tops: uppermost row of each fragment, int64 [7, 7].
        lefts: leftmost column, int64 [7, 7].
    """

    tops: npt.NDArray[np.int64]
    lefts: npt.NDArray[np.int64]

    def cut(self, frame: ByteArray) -> ByteArray:
        """Put the fragments of a frame together.

        Args:
            frame: uint8 [H, W, 3], with no side below 224 (see :func:`enlarged`).

        Returns:
            uint8 [224, 224, 3].
        """
        within = np.arange(FRAGMENT_PX)
        rows = self.tops[..., None, None] + within[:, None]
        columns = self.lefts[..., None, None] + within
        return np.ascontiguousarray(frame[rows, columns].swapaxes(1, 2).reshape(VIEW_PX, VIEW_PX, 3))


def draw_grid(height: int, width: int, rng: np.random.Generator) -> FragmentGrid:
    """Draw a place for a fragment in each cell of a 7x7 grid.

    As in the published code, the grid is that of the frame as it is, also where it is enlarged afterwards: then
    fragments come from its upper left part, without offsets.

    Args:
        height: of the frame.
        width: of it.
        rng: draws the offsets.

    Raises:
        OptionError: A side is below 32 px.
    """
    if min(height, width) < FRAGMENT_PX:
        raise OptionError(
            f"DOVER needs frames of at least {FRAGMENT_PX}x{FRAGMENT_PX} px after the crop, not {width}x{height}"
        )
    tops, lefts = _offsets(height, rng), _offsets(width, rng)
    return FragmentGrid(tops + _cells(height)[:, None], lefts + _cells(width))


def _cells(side: int) -> npt.NDArray[np.int64]:
    """Return where the seven cells of a side begin."""
    return np.minimum(np.arange(GRID) * (side // GRID), side - FRAGMENT_PX)


def _offsets(side: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw how far into its cell each fragment lies, [7, 7]; 0 where cells are no larger than fragments."""
    room = side // GRID - FRAGMENT_PX
    return rng.integers(0, room, (GRID, GRID)) if room > 0 else np.zeros((GRID, GRID), np.int64)
