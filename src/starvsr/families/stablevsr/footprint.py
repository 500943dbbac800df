"""What StableVSR needs in memory: its networks traced on the meta device, its clip counted.

Sampling goes from frame to frame, so its peak is that of one call beside what the clip holds: latents, optical flow,
and the maps of the frames whose first half of the UNet has run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.families.stablevsr.decoder import FrameDecoder
from starvsr.families.stablevsr.flow_bytes import FlowBytes
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder, GuidanceDecoderConfig
from starvsr.families.stablevsr.plan import AT_ONCE, StableVSRPlan
from starvsr.families.stablevsr.split_unet import encode, finish
from starvsr.models.weights import build_empty
from starvsr.offload.footprint import ClipSize, Device, Phase, PhasePeak, PlanLimits
from starvsr.offload.memory_plan import Place
from starvsr.offload.trace import FusedAttention, LiveBytes
from starvsr.offload.traced import ComponentBytes, LinearFit

FLOW, SAMPLE, DECODE = "flow", "sample", "decode"
SIZES = ClipSize(1, 48, 48), ClipSize(1, 72, 72), ClipSize(2, 72, 72)
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


@dataclass(frozen=True)
class CallBytes:
    """Bytes of one call of each network at work; see `starvsr.offload.traced.LinearFit`."""

    encode: LinearFit
    control: LinearFit
    finish: LinearFit
    guide: LinearFit
    decode: LinearFit


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
        return self.flow(clip.height, clip.width)

    def _sample(self, clip: ClipSize, plan: StableVSRPlan) -> int:
        count = min(clip.num_frames, plan.frames_at_once)
        maps, one = self.maps.bytes_of(clip.height, clip.width), ClipSize(1, clip.height, clip.width)
        cells = clip.height * clip.width
        together = self.calls.encode.at(ClipSize(count, clip.height, clip.width))
        first = together + (self.num_texts - 1) * count * maps
        second = [self.calls.finish.at(one)]
        if clip.num_frames > 1 and self.directions:
            item = self.maps.item
            guide = cells * GUIDE_VALUES * (FLOAT if item == FLOAT else FLOAT + item)
            second = [
                self.calls.guide.at(one),
                cells * PICTURE_BYTES,
                self.calls.control.at(one) + guide,
                maps + self.calls.finish.at(one) + guide,
            ]
        return max(first, self.num_texts * count * maps + max(second))

    def _decode(self, clip: ClipSize, plan: StableVSRPlan) -> int:
        return self.calls.decode.at(ClipSize(1, clip.height, clip.width))

    def candidates(self, clip: ClipSize, limits: PlanLimits) -> Sequence[StableVSRPlan]:
        """List the plans, the one with the least work first."""
        places: tuple[Place, ...] = limits.places if self.device != "cpu" else ("resident",)
        return [
            StableVSRPlan(place, (1, 1), limits.tile_overlap, count) for place in places for count in reversed(AT_ONCE)
        ]

    def tile_work(self, clip: ClipSize, plan: StableVSRPlan) -> float:
        """Return 1: frames are never cut."""
        return 1.0

    def extra_work(self, plan: StableVSRPlan) -> float:
        """Return what smaller batches of the first half cost: it is a twelfth of the work."""
        return 0.01 * (1 - plan.frames_at_once / AT_ONCE[-1])

    def plan_from(self, values: Mapping[str, Any]) -> StableVSRPlan:
        """Read a plan from a job's manifest."""
        return StableVSRPlan.from_dict(values)


def trace_calls(
    networks: Mapping[str, Any],
    guide: torch.dtype,
    dtype: torch.dtype,
    small: GuidanceDecoderConfig | None = None,
) -> CallBytes:
    """Trace the networks' calls; the same networks are traced once in a process.

    Args:
        networks: "unet", "tcm" and "vae" of diffusers, on any device; only their configurations are read.
        guide: Number type of the autoencoder's decoder where it decodes for the guidance.
        dtype: Number type of UNet and TCM.
        small: Sizes of a decoder for the guidance, of the same number type, in place of the autoencoder's.
    """
    described = tuple(
        (name, type(network), json.dumps(dict(network.config), sort_keys=True, default=str))
        for name, network in networks.items()
    )
    return _trace(described, guide, dtype, small)


@lru_cache(maxsize=8)
def _trace(
    described: tuple[tuple[str, Any, str], ...],
    guide: torch.dtype,
    dtype: torch.dtype,
    small: GuidanceDecoderConfig | None,
) -> CallBytes:
    networks = {name: build_empty(partial(kind.from_config, json.loads(text))) for name, kind, text in described}
    for network in networks.values():
        network.eval()
    unet, tcm, vae = networks["unet"], networks["tcm"], networks["vae"]
    for network in (unet, tcm):
        nn.Module.to(network, dtype)  # diffusers' own warns without reason
    text = torch.empty(1, 77, unet.config.cross_attention_dim, dtype=dtype, device="meta")

    def inputs(size: ClipSize) -> Tensor:
        return torch.empty(
            size.num_frames, unet.config.in_channels, size.height, size.width, dtype=dtype, device="meta"
        )

    def first(size: ClipSize) -> int:
        given = inputs(size)
        return _peak(lambda: encode(unet, given, 0, text), [given, text], unet)

    def second(size: ClipSize) -> int:
        encoded = encode(unet, inputs(size), 0, text)
        downs = [torch.empty_like(skip) for skip in encoded.skips]
        given = [*encoded.skips, encoded.middle, encoded.time, *downs, text]
        return _peak(lambda: finish(unet, encoded, text, downs, torch.empty_like(encoded.middle)), given, unet)

    def control(size: ClipSize) -> int:
        given = inputs(size)
        picture = torch.empty(1, 3, 4 * size.height, 4 * size.width, dtype=dtype, device="meta")
        return _peak(lambda: tcm(given, 0, text, picture, return_dict=False), [given, picture, text], tcm)

    def decoding(decoder: nn.Module) -> Callable[[ClipSize], int]:
        def decode(size: ClipSize) -> int:
            latent = torch.empty(1, vae.config.latent_channels, size.height, size.width, device="meta")
            return _peak(lambda: decoder(latent), [latent], decoder)

        return decode

    with torch.inference_mode(False), torch.no_grad():
        decode = _of_one_frame(decoding(FrameDecoder(vae, torch.float32)))
        if small is not None:
            given = build_empty(lambda: GuidanceDecoder(small)).to(dtype)
            guided = _of_one_frame(decoding(given))
        else:
            guided = decode if guide == torch.float32 else _of_one_frame(decoding(FrameDecoder(vae, guide)))
        return CallBytes(
            encode=LinearFit.through(SIZES, [first(size) for size in SIZES]),
            control=_of_one_frame(control),
            finish=_of_one_frame(second),
            guide=guided,
            decode=decode,
        )


def _of_one_frame(measure: Callable[[ClipSize], int]) -> LinearFit:
    small, large = (measure(size) for size in SIZES[:2])
    return LinearFit.through(SIZES, [small, large, large])


def _peak(call: Callable[[], object], given: Sequence[Tensor], network: nn.Module) -> int:
    with FusedAttention(), LiveBytes([*network.state_dict().values(), *given]) as live:
        call()
    return live.peak
