"""Memory plans of STAR on I2VGen-XL: what the network's layers and the autoencoder add to the general plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starvsr.offload.footprint import Device, PlanLimits
from starvsr.offload.memory_plan import MemoryPlan
from starvsr.offload.tile_grids import grids

CODING_TILE_COST = 0.01
"""Assumed time of a further tile of the autoencoder, relative to the whole job."""
SHORTEST_TILE = 40
"""Latent cells of a tile's side, at least."""
AT_ONCE = {"cpu": (1 << 22,), "cuda": (1 << 25, 1 << 23)}
"""Elements of a map that a layer processes at once: enough to fill the device, few enough not to matter."""


@dataclass(frozen=True)
class StarPlan(MemoryPlan):
    """A plan for STAR.

    Args:
        coding_tiles: Rows and columns of tiles that the autoencoder processes one after the other.
        at_once: Elements of a map that a layer processes at once.
        chunk: Tokens that a feed-forward processes at once.
    """

    coding_tiles: tuple[int, int] = (1, 1)
    at_once: int = 1 << 22
    chunk: int = 4096

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the manifest of a job, in the order in which they have always been written."""
        values = super().as_dict()
        return {name: values[name] for name in ("place", "tiles", "coding_tiles", "tile_overlap", "at_once", "chunk")}

    def tilings(self) -> list[tuple[str, tuple[int, int]]]:
        """Return the tiles of network and autoencoder."""
        return [*super().tilings(), ("autoencoder", self.coding_tiles)]


@lru_cache(maxsize=64)
def star_plans(
    height: int, width: int, limits: PlanLimits, device: Device = "cuda", channels: int = 320
) -> tuple[StarPlan, ...]:
    """List the plans for frames of ``height`` x ``width`` latent cells.

    Args:
        height: Latent rows.
        width: Latent columns.
        limits: Which plans are allowed; on a CPU weights are always resident.
        device: Where the model computes.
        channels: Width of the network.
    """
    shortest = max(SHORTEST_TILE, 2 * limits.tile_overlap)
    tilings = [limits.tiles] if limits.tiles else grids(height, width, shortest)
    found = []
    for place in limits.places if device != "cpu" else ("resident",):
        for at_once in AT_ONCE[device]:
            for tiles in tilings:
                for coding in grids(height, width, SHORTEST_TILE):
                    chunk = max(1024, at_once // (8 * channels)) if device != "cpu" else 4096
                    found.append(StarPlan(place, tiles, limits.tile_overlap, coding, at_once, chunk))
    return tuple(found)
