"""The memory plan of STAR on CogVideoX: where weights live, and the tiles of the transformer and of the VAE."""

from __future__ import annotations

from dataclasses import dataclass

from starvsr.offload.memory_plan import MemoryPlan


@dataclass(frozen=True)
class CogVideoXPlan(MemoryPlan):
    """See `MemoryPlan`.

    Args:
        coding_tiles: Rows and columns of tiles that the VAE encodes and decodes one after the other.
    """

    coding_tiles: tuple[int, int] = (1, 1)

    def tilings(self) -> list[tuple[str, tuple[int, int]]]:
        """Return the name of each tiled network with its rows and columns of tiles."""
        return [*super().tilings(), ("VAE", self.coding_tiles)]
