"""What StableVSR needs in memory: its networks traced on the meta device, its clip counted.

Sampling goes from frame to frame, so its peak is that of one call beside what the clip holds: latents, optical flow,
and the maps of the frames whose first half of the UNet has run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starvsr.families.stablevsr.call_bytes import CallBytes
from starvsr.families.stablevsr.flow_bytes import FlowBytes
from starvsr.families.stablevsr.plan import AT_ONCE, WHOLE, StableVSRPlan, list_plans
from starvsr.families.stablevsr.tiles import axes_of_tiles, longest
from starvsr.offload.footprint import ClipSize, Device, Phase, PhasePeak, PlanLimits
from starvsr.offload.memory_plan import Place
from starvsr.offload.traced import ComponentBytes

FLOW, SAMPLE, DECODE = "flow", "sample", "decode"
PIXELS = 16
"""Of an enlarged frame for each latent cell."""
FLOAT = 4
CLIP_BYTES = FLOAT * (2 * 3 + 5 * 4)
"""A frame's low-quality pixels (as given, and filled up) and its latents: the start, now, noise, and two in between."""
PICTURE_BYTES = FLOAT * PIXELS * (3 + 3 + 2 + 2)
"""While a decoded neighbour is warped: both pictures, the grid that it is warped by, and a half of it on the way."""
GUIDE_VALUES = PIXELS * 3
"""Of the warped picture, which is there until the frame is predicted, in float32 and in the networks' type."""
FLOW_BYTES = FLOAT * PIXELS * 2
SUM_BYTES = 3 * FLOAT * 4
"""Of a prediction that is added up of tiles, and of a tile's share of it."""
NETWORK_SHARE = 0.26
"""Of the work of a guided step: UNet and TCM (docs/models.md). The rest is the autoencoder's decoder."""
STRIPS_COST, TILES_COST = 1000.0, 2000.0
"""More than the work of any other plan: results change where no plan with whole frames fits, by rounding in strips
(half as much work again in the decoder's convolutions), visibly in tiles."""
CHUNKED_FLOW_COST = 0.1
"""Above what moving weights costs, below shorter segments. The table itself would cost a fiftieth."""
BATCH_COST = 0.01
"""Of frames encoded one by one: the first half of the UNet is a twelfth of the work."""


@dataclass(frozen=True)
class Maps:
    """Sizes of the maps that UNet and TCM exchange.

    Args:
        channels: Of each level.
        layers: Maps of each level beside the one that is handed down.
        item: Bytes of a value.
    """

    channels: tuple[int, ...]
    layers: int
    item: int

    def bytes_of(self, height: int, width: int) -> int:
        """Return the bytes of all skips and the middle of one frame."""
        values = self.channels[0] * height * width
        for level, channels in enumerate(self.channels):
            values += self.layers * channels * height * width
            if level < len(self.channels) - 1:
                height, width = -(-height // 2), -(-width // 2)
                values += channels * height * width
        return self.item * (values + self.channels[-1] * height * width)


@dataclass(frozen=True)
class StableVSRFootprint:
    """See `starvsr.offload.footprint.Footprint`.

    Args:
        trace: Returns the bytes of the networks' calls; asked once, when a peak is.
        maps: Sizes of the maps between the halves of the UNet.
        components: Weights by component.
        uses: Components of each phase.
        unpacked: Bytes of the largest weight multiplied out from 8 bits.
        num_texts: 2 with guidance by a negative prompt, else 1.
        directions: Directions whose flow is kept, 0 to 2.
        flow: Bytes of estimating one flow for low-quality frames of (height, width).
        device: Where the model computes.
        chunked_flow: The same for the estimator that computes its table in chunks; None if there is no such.
        strips: Whether the decoder's layers can be computed in strips of rows.
    """

    trace: Callable[[], CallBytes]
    maps: Maps
    components: Mapping[str, ComponentBytes]
    uses: Mapping[str, tuple[str, ...]]
    unpacked: int
    num_texts: int
    directions: int
    flow: FlowBytes
    device: Device
    chunked_flow: FlowBytes | None = None
    strips: bool = True

    @cached_property
    def calls(self) -> CallBytes:
        """Bytes of the networks' calls."""
        return self.trace()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in the order in which they run."""
        labels = {FLOW: "estimating motion", SAMPLE: "sampling", DECODE: "decoding"}
        return tuple(Phase(name, label, self.uses[name]) for name, label in labels.items())

    def weights(self, place: Place, phase: str) -> int:
        """Return the bytes of weights on the device in a phase."""
        if place == "resident":
            return sum(each.total for each in self.components.values()) + self.unpacked
        used = [self.components[name] for name in self.uses[phase]]
        extra = self.unpacked if phase == SAMPLE else 0
        return sum(each.streamed if place == "stream" else each.total for each in used) + extra

    def peak(self, phase: str, clip: ClipSize, plan: StableVSRPlan) -> PhasePeak:
        """Return the bytes that a phase needs for a segment under a plan."""
        cells = clip.height * clip.width
        held = cells * (clip.num_frames * CLIP_BYTES + self.directions * (clip.num_frames - 1) * FLOW_BYTES)
        work = {FLOW: self._flow, SAMPLE: self._sample, DECODE: self._decode}[phase](clip, plan)
        return PhasePeak(held, work)

    def _flow(self, clip: ClipSize, plan: StableVSRPlan) -> int:
        if clip.num_frames == 1 or self.directions == 0:
            return 0
        estimate = self.chunked_flow if plan.chunked_flow and self.chunked_flow is not None else self.flow
        return estimate(clip.height, clip.width)

    def _sample(self, clip: ClipSize, plan: StableVSRPlan) -> int:
        sides = (longest(axis) for axis in axes_of_tiles(clip.height, clip.width, plan))
        tile = ClipSize(min(clip.num_frames, plan.frames_at_once), *sides)
        guided = clip.num_frames > 1 and self.directions > 0
        return self._in_tiles(clip, tile, plan, guided) if plan.tiles != WHOLE else self._whole(tile, plan, guided)

    def _whole(self, clip: ClipSize, plan: StableVSRPlan, guided: bool) -> int:
        """Maps of several frames are held while the first of them is guided and predicted."""
        maps, one = self.maps.bytes_of(clip.height, clip.width), ClipSize(1, clip.height, clip.width)
        first = self.calls.encode.at(clip) + (self.num_texts - 1) * clip.num_frames * maps
        second = [self.calls.finish.at(one)]
        if guided:
            guide = self._guide_bytes(one, one)
            second = [
                *self._guidance(one, plan),
                self.calls.control.at(one) + guide,
                maps + self.calls.finish.at(one) + guide,
            ]
        return max(first, self.num_texts * clip.num_frames * maps + max(second))

    def _in_tiles(self, clip: ClipSize, tile: ClipSize, plan: StableVSRPlan, guided: bool) -> int:
        """The neighbour's picture is whole; then both halves run for each tile."""
        maps = self.maps.bytes_of(tile.height, tile.width)
        held = self.num_texts * maps
        work = [self.calls.encode.at(tile) + held - maps, held + self.calls.finish.at(tile)]
        if guided:
            work[1] += maps
            work.append(held + self.calls.control.at(tile))
        guide = self._guide_bytes(clip, tile) if guided else 0
        summed = SUM_BYTES * clip.height * clip.width
        one = ClipSize(1, clip.height, clip.width)
        return max([guide + summed + max(work), *(self._guidance(one, plan) if guided else ())])

    def _guidance(self, clip: ClipSize, plan: StableVSRPlan) -> tuple[int, int]:
        """Return the bytes of decoding the neighbour, and of warping it."""
        strips = self.calls.guide_strips if plan.decoding_strips else None
        return (strips or self.calls.guide.at)(clip), clip.height * clip.width * PICTURE_BYTES

    def _guide_bytes(self, frame: ClipSize, tile: ClipSize) -> int:
        """Return the bytes of the warped picture, and of what the networks are given of it."""
        item = self.maps.item
        given = 0 if item == FLOAT and frame.height * frame.width == tile.height * tile.width else item
        return GUIDE_VALUES * (FLOAT * frame.height * frame.width + given * tile.height * tile.width)

    def _decode(self, clip: ClipSize, plan: StableVSRPlan) -> int:
        strips = self.calls.decode_strips if plan.decoding_strips else None
        return (strips or self.calls.decode.at)(ClipSize(1, clip.height, clip.width))

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> Sequence[StableVSRPlan]:
        """List the plans, the one with the least work first."""
        places: tuple[Place, ...] = limits.places if self.device != "cpu" else ("resident",)
        chunks = self.chunked_flow is not None and self.directions > 0
        return list_plans(clip.height, clip.width, limits, places, strips=self.strips, chunks=chunks)

    def tile_work(self, clip: ClipSize, plan: StableVSRPlan) -> float:
        """Return the work on all tiles, relative to that on whole frames."""
        rows, columns = (sum(each.length for each in axis) for axis in axes_of_tiles(clip.height, clip.width, plan))
        return 1 + NETWORK_SHARE * (rows * columns / (clip.height * clip.width) - 1)

    def extra_work(self, plan: StableVSRPlan) -> float:
        """Return what smaller batches, chunks of the flow's table, strips and tiles cost."""
        batches = BATCH_COST * (1 - plan.frames_at_once / AT_ONCE[-1])
        cuts = TILES_COST * (plan.tiles != WHOLE) + STRIPS_COST * plan.decoding_strips
        return batches + CHUNKED_FLOW_COST * plan.chunked_flow + cuts

    def plan_from(self, values: Mapping[str, Any]) -> StableVSRPlan:
        """Read a plan from a job's manifest."""
        return StableVSRPlan.from_dict(values)
