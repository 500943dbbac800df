"""Tiles of a frame in latent cells: where they lie, and how the sampler's networks work on them.

Latents, noise, optical flow and the neighbour's picture are those of the whole frame. At each step the UNet and the TCM
predict tile by tile, and predictions are blended over the overlaps; the clean estimate follows from the prediction
linearly, so that is the same as blending clean estimates.

Source: MultiDiffusion (arXiv 2302.08113), with ramps for weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from starvsr.diffusion.denoiser import Denoise
from starvsr.diffusion.tiling import Tile, in_tiles
from starvsr.families.stablevsr.configuration import SCALE
from starvsr.families.stablevsr.inference import InferenceNetworks
from starvsr.families.stablevsr.plan import StableVSRPlan
from starvsr.windows import Window, split_windows

Axes = tuple[Sequence[Window], Sequence[Window]]
"""Rows and columns of the tiles."""

CELL_STEP = 8
"""Tiles begin at multiples of this, where the UNet's coarsest grid of a whole frame has its points."""


@lru_cache(maxsize=4096)
def axis_of_tiles(cells: int, count: int, overlap: int) -> tuple[Window, ...]:
    """Cover an axis with at most ``count`` tiles.

    Args:
        cells: Length of the axis.
        count: Most tiles.
        overlap: Cells that neighbours share at least.

    Returns:
        Tiles of one length, a multiple of `CELL_STEP`; the last one may be shorter by less than that.
    """
    units, shared = -(-cells // CELL_STEP), -(-overlap // CELL_STEP)
    side = max(-(-(units + (count - 1) * shared) // count), shared + 1)
    if count == 1 or side >= units:
        return (Window(0, cells, 0, cells),)
    edges = [(w.start, w.stop, w.keep_start, w.keep_stop) for w in split_windows(units, side, shared)]
    return tuple(Window(*(min(CELL_STEP * at, cells) for at in each)) for each in edges)


def axes_of_tiles(height: int, width: int, plan: StableVSRPlan) -> Axes:
    """Return the tiles of a frame of ``height`` x ``width`` cells."""
    rows, columns = plan.tiles
    return axis_of_tiles(height, rows, plan.tile_overlap), axis_of_tiles(width, columns, plan.tile_overlap)


def longest(windows: Sequence[Window]) -> int:
    """Return the cells of the longest tile of an axis."""
    return max(window.length for window in windows)


@dataclass(frozen=True, eq=False)
class TiledNetworks:
    """Networks that predict tile by tile; see `starvsr.families.stablevsr.sampling.Networks`.

    Attributes:
        networks: Those that work on each tile.
        axes: The tiles.
    """

    networks: InferenceNetworks
    axes: Axes

    def predict(self, x: Tensor, lq: Tensor, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        """Return the prediction for a latent; see `starvsr.families.stablevsr.sampling.Networks`."""

        def denoise_for(tile: Tile) -> Denoise:
            rows, columns = (slice(axis.start, axis.stop) for axis in tile)
            pixel_rows, pixel_columns = (slice(SCALE * axis.start, SCALE * axis.stop) for axis in tile)
            part = None if guide is None else guide[..., pixel_rows, pixel_columns]
            return lambda latent, _: self.networks.predict(latent, lq[..., rows, columns], timestep, part, scale)

        return in_tiles(denoise_for, *self.axes)(x, 0.0)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the picture of a clean latent, as a whole."""
        return self.networks.decode(latent)
