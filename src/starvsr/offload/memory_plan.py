"""What a plan for memory says: how a frame is cut, how much is worked on at once, where the weights live. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starvsr.quantities import format_size

Place = Literal["resident", "offload", "stream"]
"""Where the weights live:

- "resident": all on the device, always.
- "offload": on the device while they are used: the network while it samples, the autoencoder while it codes.
- "stream": the autoencoder like that; of the network one module and the next one, the others in the host's memory.
"""
PLACES: tuple[Place, ...] = ("resident", "offload", "stream")
Phase = Literal["encode", "sample", "decode"]


@dataclass(frozen=True)
class Room:
    """One plan for memory.

    Args:
        place: Where the weights live.
        tiles: Rows and columns of tiles that the network sees one after the other.
        coding_tiles: Rows and columns of tiles that the autoencoder sees.
        tile_overlap: Latent cells that neighbouring tiles of the network share.
        at_once: Values of a map that a layer works on at once.
        chunk: Tokens that a feed-forward works on at once.
    """

    place: Place = "resident"
    tiles: tuple[int, int] = (1, 1)
    coding_tiles: tuple[int, int] = (1, 1)
    tile_overlap: int = 16
    at_once: int = 1 << 22
    chunk: int = 4096

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for the books of a job."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Room:
        """Turn back; a name that is not known raises TypeError."""
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**plain)

    def describe(self) -> str:
        """Say the plan in words."""
        words = {
            "resident": "all weights on the device",
            "offload": "weights on the device while they are used",
            "stream": "weights of the network streamed from the host's memory",
        }[self.place]
        for name, (rows, columns) in (("network", self.tiles), ("autoencoder", self.coding_tiles)):
            if rows * columns > 1:
                words += f"; {columns} x {rows} tiles for the {name}"
        return words


@dataclass(frozen=True)
class Prediction:
    """Peak memory by component, in bytes. Phases follow each other, so only the largest counts.

    Args:
        weights: Of network and autoencoder, as far as they are there in each phase.
        clip: Latents, noise, texts and pixels of the segment.
        work: What each phase needs beside them.
        margin: For what is not counted: the libraries' own memory, gaps of the allocator.
    """

    weights: Mapping[Phase, int]
    clip: Mapping[Phase, int]
    work: Mapping[Phase, int]
    margin: int

    def of(self, phase: Phase) -> int:
        """Return the peak of a phase, without the margin."""
        return self.weights[phase] + self.clip[phase] + self.work[phase]

    @property
    def fullest(self) -> Phase:
        """The phase that needs the most."""
        return max(self.weights, key=self.of)

    @property
    def peak(self) -> int:
        """Most bytes at once, margin included."""
        return self.of(self.fullest) + self.margin

    def describe(self) -> str:
        """Say the prediction in words, by component."""
        phase = self.fullest
        doing = {"encode": "encoding", "sample": "sampling", "decode": "decoding"}[phase]
        parts = [("weights", self.weights[phase]), ("clip", self.clip[phase]), (doing, self.work[phase])]
        told = ", ".join(f"{name} {format_size(size)}" for name, size in [*parts, ("margin", self.margin)])
        others = ", ".join(
            f"{name} {format_size(self.of(name) + self.margin)}" for name in self.weights if name != phase
        )
        return f"{format_size(self.peak)} ({told}; {others})"
