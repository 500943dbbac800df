"""The contract of a model's memory footprint: what its weights and its phases need. No torch.

A family either counts its networks by hand (exact and fast, as `starvsr.families.star_i2vgen.footprint` does) or
traces them (`starvsr.offload.traced`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from starvsr.offload.memory_plan import PLACES, Place, PlanT, Prediction

MB = 2**20
MARGIN_SHARE = 0.05
"""Of what is counted beside weights: fragmentation and the allocator's rounding."""
MARGIN_BYTES = {"cuda": 800 * MB, "cpu": 100 * MB}
"""Context and kernels of a CUDA device and work space of its libraries; work space of the CPU's."""

Device = Literal["cpu", "cuda"]
"""A CPU, or any accelerator."""


@dataclass(frozen=True)
class ClipSize:
    """Size of a segment: frames including context, rows and columns of a padded frame in latent cells."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Phase:
    """One step of enlarging a segment.

    Args:
        name: Its name, e.g. "encode".
        label: What it does, in a word for messages, e.g. "encoding".
        uses: Names of the components whose weights it needs, e.g. ("vae",).
    """

    name: str
    label: str
    uses: tuple[str, ...]


@dataclass(frozen=True)
class PhasePeak:
    """Bytes that a phase needs beside weights.

    Args:
        clip: Held throughout the phase: latents, noise, texts, pixels of the segment.
        work: Peak of the computation itself.
    """

    clip: int
    work: int


@dataclass(frozen=True)
class PlanLimits:
    """Which plans are allowed.

    Args:
        places: Where weights may live.
        tiles: Rows and columns of the network's tiles if the user has fixed them.
        tile_overlap: Cells that neighbouring tiles share.
    """

    places: tuple[Place, ...] = PLACES
    tiles: tuple[int, int] | None = None
    tile_overlap: int = 16


class Footprint(Protocol[PlanT]):
    """What planning asks of a loaded model. Arithmetic only: thousands of plans are compared for one job."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in the order in which they run."""
        ...

    @property
    def device(self) -> Device:
        """On a CPU weights are always resident."""
        ...

    def weights(self, place: Place, phase: str) -> int:
        """Return the bytes of weights on the device in a phase."""
        ...

    def peak(self, phase: str, clip: ClipSize, plan: PlanT) -> PhasePeak:
        """Return the bytes that a phase needs for a segment under a plan."""
        ...

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> Sequence[PlanT]:
        """List the plans for frames of this size, the one with the least work first."""
        ...

    def tile_work(self, clip: ClipSize, plan: PlanT) -> float:
        """Return the cells that the network computes, relative to those of the frame: 1 without tiles."""
        ...

    def extra_work(self, plan: PlanT) -> float:
        """Return additional time for other settings of the plan, relative to the whole job; 0 for none."""
        ...

    def plan_from(self, values: Mapping[str, Any]) -> PlanT:
        """Read a plan from a job's manifest.

        Raises:
            TypeError: A name is unknown.
        """
        ...


def predict(footprint: Footprint[PlanT], clip: ClipSize, plan: PlanT) -> Prediction:
    """Predict the peak of a segment, by phase and component."""
    names = [phase.name for phase in footprint.phases]
    peaks = {name: footprint.peak(name, clip, plan) for name in names}
    most = max(peak.clip + peak.work for peak in peaks.values())
    return Prediction(
        {name: footprint.weights(plan.place, name) for name in names},
        {name: peak.clip for name, peak in peaks.items()},
        {name: peak.work for name, peak in peaks.items()},
        MARGIN_BYTES[footprint.device] + int(MARGIN_SHARE * most),
        {phase.name: phase.label for phase in footprint.phases},
    )


def resident_bytes(footprint: Footprint[PlanT]) -> int:
    """Return the bytes of all weights."""
    return footprint.weights("resident", footprint.phases[0].name)
