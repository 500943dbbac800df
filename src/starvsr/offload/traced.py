"""The footprint of a family that does not count its networks by hand: they are traced on torch's meta device.

Each phase runs once at three sizes; peak memory is then a constant, a share per cell of a frame, and a share per frame
and cell. That is exact for networks whose maps grow with the clip (attention counts as fused, whose memory does too).
Layers that work in chunks above some size and on the whole map below it follow another line on either side: trace at
sizes on the side on which the model is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.offload.footprint import ClipSize, Device, Phase, PhasePeak, PlanLimits
from starvsr.offload.memory_plan import MemoryPlan, Place
from starvsr.offload.tile_grids import grids
from starvsr.offload.trace import FusedAttention, LiveBytes
from starvsr.offload.weights import Component
from starvsr.version import __version__

_LOG = logging.getLogger("starvsr")
Sizes = tuple[ClipSize, ClipSize, ClipSize]


@dataclass(frozen=True)
class TracedPhase:
    """A phase, and one call of its network on the meta device.

    Args:
        phase: Name, label and components.
        inputs: Makes the inputs of one call for a clip (or tile) of a size, on the meta device.
        call: The call; runs without gradients.
        held: Bytes that the phase holds beside its calls: latents, noise, texts, pixels of the whole clip.
        sizes: Sizes to trace: two that differ in cells only, and a third that differs from the second in frames only.
        max_frames: Frames that one call takes at most; None takes the whole clip.
        tiled: Whether frames are cut into the plan's tiles.
    """

    phase: Phase
    inputs: Callable[[ClipSize], tuple[Tensor, ...]]
    call: Callable[..., object]
    held: Callable[[ClipSize], int]
    sizes: Sizes
    max_frames: int | None = None
    tiled: bool = False


@dataclass(frozen=True)
class LinearFit:
    """Bytes of one call: ``constant + per_cell * cells + per_frame_cell * frames * cells``."""

    constant: float
    per_cell: float
    per_frame_cell: float

    def at(self, clip: ClipSize) -> int:
        """Return the bytes of a call of this size, at least 0."""
        cells = clip.height * clip.width
        return max(0, round(self.constant + self.per_cell * cells + self.per_frame_cell * clip.num_frames * cells))

    @classmethod
    def through(cls, sizes: Sizes, peaks: Sequence[int]) -> LinearFit:
        """Fit three measured peaks exactly; see `TracedPhase.sizes`.

        Raises:
            ValueError: The sizes do not differ as they must.
        """
        small, large, longer = sizes
        (c0, c1, c2) = (size.height * size.width for size in sizes)
        frames = small.num_frames
        if c0 == c1 or c1 != c2 or large.num_frames != frames or longer.num_frames == frames:
            raise ValueError(f"sizes must differ first in cells, then in frames: {sizes}")
        per_frame_cell = (peaks[2] - peaks[1]) / ((longer.num_frames - frames) * c1)
        per_cell = (peaks[1] - peaks[0]) / (c1 - c0) - per_frame_cell * frames
        return cls(peaks[0] - (per_cell + per_frame_cell * frames) * c0, per_cell, per_frame_cell)


@dataclass(frozen=True)
class ComponentBytes:
    """Weights of a component: all of them, and as many as are on the device at once while it is streamed."""

    total: int
    streamed: int

    @classmethod
    def of(cls, component: Component) -> ComponentBytes:
        """Count the weights of a component, on any device."""
        total = _weight_bytes(component.module)
        if component.streamed is None:
            return cls(total, total)
        sizes = [_weight_bytes(part) for part in component.streamed]
        largest = max((one + other for one, other in pairwise(sizes)), default=total)
        return cls(total, min(total, largest + total - sum(sizes)))


def _weight_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@dataclass(frozen=True)
class TracedFootprint:
    """A footprint from traces; see `starvsr.offload.footprint.Footprint`. Made by `trace_footprint`.

    Args:
        traced: The phases in the order in which they run.
        fits: Bytes of one call of each phase, by its name.
        components: Weights by component.
        device: Where the model computes.
        shortest_tile: Shortest side of a tile in cells.
        cell_step: Sides of tiles are multiples of this.
    """

    traced: tuple[TracedPhase, ...]
    fits: Mapping[str, LinearFit]
    components: Mapping[str, ComponentBytes]
    device: Device = "cuda"
    shortest_tile: int = 40
    cell_step: int = 1
    _by_name: dict[str, TracedPhase] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the phases."""
        object.__setattr__(self, "_by_name", {each.phase.name: each for each in self.traced})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in the order in which they run."""
        return tuple(each.phase for each in self.traced)

    def weights(self, place: Place, phase: str) -> int:
        """Return the bytes of weights on the device in a phase."""
        if place == "resident":
            return sum(each.total for each in self.components.values())
        used = [self.components[name] for name in self._by_name[phase].phase.uses]
        return sum(each.streamed if place == "stream" else each.total for each in used)

    def peak(self, phase: str, clip: ClipSize, plan: MemoryPlan) -> PhasePeak:
        """Return the bytes that a phase needs for a segment under a plan."""
        traced = self._by_name[phase]
        return PhasePeak(traced.held(clip), self.fits[phase].at(self._call_size(traced, clip, plan)))

    def _call_size(self, traced: TracedPhase, clip: ClipSize, plan: MemoryPlan) -> ClipSize:
        frames = clip.num_frames if traced.max_frames is None else min(clip.num_frames, traced.max_frames)
        if not traced.tiled:
            return ClipSize(frames, clip.height, clip.width)
        return ClipSize(frames, *(self._side(*axis, plan) for axis in self._axes(clip, plan)))

    def _axes(self, clip: ClipSize, plan: MemoryPlan) -> tuple[tuple[int, int], tuple[int, int]]:
        return (clip.height, plan.tiles[0]), (clip.width, plan.tiles[1])

    def _side(self, cells: int, count: int, plan: MemoryPlan) -> int:
        """Return the side of each of ``count`` equal tiles that overlap and cover an axis."""
        side = -(-(cells + (count - 1) * plan.tile_overlap) // count)
        return min(cells, side + -side % self.cell_step)

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> tuple[MemoryPlan, ...]:
        """List the plans for frames of this size, the one with the least work first."""
        shortest = max(self.shortest_tile, 2 * limits.tile_overlap)
        can_tile = any(each.tiled for each in self.traced)
        tilings = [limits.tiles] if limits.tiles else grids(clip.height, clip.width, shortest) if can_tile else [(1, 1)]
        places: tuple[Place, ...] = limits.places if self.device != "cpu" else ("resident",)
        return tuple(MemoryPlan(place, tiles, limits.tile_overlap) for place in places for tiles in tilings)

    def tile_work(self, clip: ClipSize, plan: MemoryPlan) -> float:
        """Return the cells of all tiles, relative to those of the frame."""
        sides = [count * self._side(cells, count, plan) for cells, count in self._axes(clip, plan)]
        return sides[0] * sides[1] / (clip.height * clip.width)

    def extra_work(self, plan: MemoryPlan) -> float:
        """Return 0: these plans have no other settings."""
        return 0.0

    def plan_from(self, values: Mapping[str, Any]) -> MemoryPlan:
        """Read a plan from a job's manifest."""
        return MemoryPlan.from_dict(values)


def trace_footprint(
    components: Mapping[str, Component],
    phases: Sequence[TracedPhase],
    *,
    device: Device = "cuda",
    shortest_tile: int = 40,
    cell_step: int = 1,
    cache: Path | None = None,
    key: str = "",
) -> TracedFootprint:
    """Trace a model's phases, or read the traces of an earlier run.

    Args:
        components: Its networks, on the meta device with the number types of the real ones.
        phases: Its phases in the order in which they run.
        device: Where the real model computes.
        shortest_tile: Shortest side of a tile in cells.
        cell_step: Sides of tiles are multiples of this.
        cache: Folder to keep traces in, beside the weights or in the user's cache; None keeps none.
        key: What the traces depend on beside sizes and versions: configuration of the networks, number types.
    """
    path = None if cache is None else cache / f"footprint-{_digest(phases, key)}.json"
    fits = _read(path, phases)
    if fits is None:
        weights = [tensor for each in components.values() for tensor in each.module.state_dict().values()]
        fits = {each.phase.name: _trace(each, weights) for each in phases}
        _write(path, fits)
    sizes = {name: ComponentBytes.of(component) for name, component in components.items()}
    return TracedFootprint(tuple(phases), fits, sizes, device, shortest_tile, cell_step)


def _trace(traced: TracedPhase, weights: Sequence[Tensor]) -> LinearFit:
    return LinearFit.through(traced.sizes, [traced_peak(traced, size, weights) for size in traced.sizes])


def traced_peak(traced: TracedPhase, size: ClipSize, weights: Sequence[Tensor]) -> int:
    """Return the bytes alive at most in one call of a phase beside weights and inputs."""
    inputs = traced.inputs(size)
    with torch.no_grad(), FusedAttention(), LiveBytes([*weights, *inputs]) as live:
        traced.call(*inputs)
    return live.peak


def _digest(phases: Sequence[TracedPhase], key: str) -> str:
    sizes = [(each.phase.name, [asdict(size) for size in each.sizes]) for each in phases]
    text = json.dumps([key, sizes, str(torch.__version__), __version__])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path | None, phases: Sequence[TracedPhase]) -> dict[str, LinearFit] | None:
    """Return kept traces; None if there are none, or none that can be read."""
    if path is None:
        return None
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        kept = json.loads(path.read_text())
        return {each.phase.name: _checked(LinearFit(**kept[each.phase.name])) for each in phases}
    return None


def _checked(fit: LinearFit) -> LinearFit:
    if not all(isinstance(value, int | float) for value in asdict(fit).values()):
        raise ValueError("not numbers")
    return fit


def _write(path: Path | None, fits: Mapping[str, LinearFit]) -> None:
    """Keep traces; a folder that cannot be written only means that they are made again."""
    if path is None:
        return
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({name: asdict(fit) for name, fit in fits.items()}))
        partial.replace(path)
    except OSError as error:
        _LOG.debug("cannot keep the traces of a model in %s: %s", path.parent, error)
