"""Memory plans and predictions: where weights live, how frames are tiled, what that needs. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from starvsr.quantities import format_size

Place = Literal["resident", "offload", "stream"]
"""Where weights live:

- "resident": all on the device, always.
- "offload": each component on the device only in the phases that use it.
- "stream": like that; of a component that can be streamed only one module and the next one, the others in host memory.
"""
PLACES: tuple[Place, ...] = ("resident", "offload", "stream")


@dataclass(frozen=True)
class MemoryPlan:
    """What every family's plan has; a family with settings of its own derives from it and adds them.

    Args:
        place: Where the weights live.
        tiles: Rows and columns of tiles that the network processes one after the other.
        tile_overlap: Cells that neighbouring tiles share.
    """

    place: Place = "resident"
    tiles: tuple[int, int] = (1, 1)
    tile_overlap: int = 16

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the manifest of a job."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[PlanT], values: Mapping[str, Any]) -> PlanT:
        """Reverse `as_dict`.

        Raises:
            TypeError: A name is unknown.
        """
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**plain)

    @property
    def whole_frames(self) -> bool:
        """Whether the network sees whole frames."""
        return self.tiles == (1, 1)

    def tilings(self) -> list[tuple[str, tuple[int, int]]]:
        """Return the name of each tiled network with its rows and columns of tiles."""
        return [("network", self.tiles)]

    def describe(self) -> str:
        """Describe the plan in words."""
        words = {
            "resident": "all weights on the device",
            "offload": "weights on the device while they are used",
            "stream": "weights of the network streamed from the host's memory",
        }[self.place]
        for name, (rows, columns) in self.tilings():
            if rows * columns > 1:
                words += f"; {columns} x {rows} tiles for the {name}"
        return words


PlanT = TypeVar("PlanT", bound=MemoryPlan)


@dataclass(frozen=True)
class Prediction:
    """Peak memory by component, in bytes. Phases run one after the other, so only the largest counts.

    Args:
        weights: Weights present in each phase, by the phase's name.
        clip: Latents, noise, texts and pixels of the segment that each phase holds.
        work: What each phase needs in addition.
        margin: For what is not counted: the libraries' own memory, fragmentation.
        labels: What a phase does, in a word ("encoding"); its name where there is none.
    """

    weights: Mapping[str, int]
    clip: Mapping[str, int]
    work: Mapping[str, int]
    margin: int
    labels: Mapping[str, str] = field(default_factory=dict)

    def of(self, phase: str) -> int:
        """Return the peak of a phase, without the margin."""
        return self.weights[phase] + self.clip[phase] + self.work[phase]

    @property
    def fullest(self) -> str:
        """The phase that needs the most."""
        return max(self.weights, key=self.of)

    @property
    def peak(self) -> int:
        """Most bytes at once, margin included."""
        return self.of(self.fullest) + self.margin

    def describe(self) -> str:
        """Describe the prediction in words, by component."""
        phase = self.fullest
        label = self.labels.get(phase, phase)
        parts = [("weights", self.weights[phase]), ("clip", self.clip[phase]), (label, self.work[phase])]
        fullest = ", ".join(f"{name} {format_size(size)}" for name, size in [*parts, ("margin", self.margin)])
        others = ", ".join(
            f"{name} {format_size(self.of(name) + self.margin)}" for name in self.weights if name != phase
        )
        return f"{format_size(self.peak)} ({fullest}{'; ' if others else ''}{others})"
