"""What `benchmarks.published.star_gpu` measures: cases of the published STAR with random weights, timed and weighed."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.published.star_cpu import fill_quickly
from benchmarks.published.star_flops import TOKENS, StarFlops
from starvsr.engine.segments import plan_segments
from starvsr.families.star_i2vgen.footprint.plan import AT_ONCE, StarPlan
from starvsr.families.star_i2vgen.load import arrange_weights
from starvsr.families.star_i2vgen.pipeline import SCALE, StarI2VGenPipeline
from starvsr.families.star_i2vgen.reference import ReferenceQuirks
from starvsr.families.star_i2vgen.sampling import Sampling
from starvsr.families.star_i2vgen.upscaler import SEGMENT, SEGMENT_OVERLAP
from starvsr.models.int8 import to_int8
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import RELEASED_GROUP, TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae, TemporalVaeConfig
from starvsr.models.weights.assign import build_empty
from starvsr.offload.footprint import ClipSize, PlanLimits, predict
from starvsr.offload.memory_plan import PLACES, Prediction
from starvsr.offload.oom import free_bytes, is_out_of_memory
from starvsr.offload.search import choose
from starvsr.offload.trace import LiveBytes

GB = 2**30


@dataclass(frozen=True)
class Case:
    """One thing to measure: a clip of the input and the way it is done."""

    name: str
    frames: int
    width: int
    height: int
    plan: StarPlan = field(default_factory=StarPlan)
    int8: bool = False
    exact: bool = False
    segment: int = SEGMENT


TOY = Case("toy-resident", 72, 426, 240)
CASES = (
    TOY,
    replace(TOY, name="toy-offload", plan=StarPlan("offload")),
    replace(TOY, name="toy-stream", plan=StarPlan("stream")),
    replace(TOY, name="toy-exact", exact=True, segment=72),
    replace(TOY, name="toy-int8", int8=True),
    replace(TOY, name="toy-int8-stream", int8=True, plan=StarPlan("stream")),
    Case("720p-resident", 33, 320, 180, segment=33),
)
"""Cases with 8-bit weights come last, since weights are not brought back."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks, and by how much the cases shrink."""

    unet: StarUNetConfig
    vae: TemporalVaeConfig
    shrink: int = 1


FULL = Sizes(StarUNetConfig(), TemporalVaeConfig())
TINY_UNET = StarUNetConfig(
    width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=16,
    temporal_stages=(1, 1), dropout=0.0,
)  # fmt: skip
TINY = Sizes(TINY_UNET, TemporalVaeConfig(channels=(8, 8, 8, 8), layers_per_block=2, groups=4), shrink=24)


class Bench:
    """Networks with random weights, and what is measured with them.

    Args:
        sizes: Of the networks.
        device: Where they compute.
        steps: Sampling steps.
        peak_tflops: Rate that the bound is made with.
    """

    def __init__(self, sizes: Sizes, device: torch.device, steps: int, peak_tflops: float) -> None:
        self.sizes, self.device, self.steps, self.peak = sizes, device, steps, peak_tflops * 1e12
        self.dtype = torch.float32 if device.type == "cpu" else torch.float16
        self.network = build_empty(lambda: StarUNet(sizes.unet)).to(self.dtype).eval().requires_grad_(False)
        fill_quickly(self.network)
        arrange_weights(self.network)
        self.vae = build_empty(lambda: TemporalVae(sizes.vae)).eval()
        fill_quickly(self.vae)
        self._in_8_bits = False
        self._star: tuple[tuple[bool, bool], StarI2VGenPipeline] | None = None
        self._flops = StarFlops(sizes.unet, sizes.vae)

    def star(self, case: Case) -> StarI2VGenPipeline:
        """Return the pipeline of a case."""
        key = case.exact, case.int8
        if self._star is not None:
            if self._star[0] == key:
                return self._star[1]
            self._star[1].memory.end()
        if case.int8 and not self._in_8_bits:
            to_int8(self.network)
            self._in_8_bits = True
        half = None if self.dtype == torch.float32 else self.dtype
        groups = {"group": RELEASED_GROUP, "overlap": 0} if case.exact else {}
        codec = TemporalVaeCodec(self.vae, decode_dtype=half, **groups)
        generator = torch.Generator().manual_seed(1)
        contexts = torch.randn(2, 1, TOKENS, self.sizes.unet.context_dim, generator=generator).unbind(0)
        padding = None if self.sizes.shrink == 1 else "minimal"  # the released border would dwarf a small clip
        sampling = Sampling(
            choices=ReferenceQuirks.of(case.exact, noise="frames", padding=padding)
        )  # torchsde may be missing
        star = StarI2VGenPipeline(
            "random", self.network, codec, contexts, sampling,  # type: ignore[arg-type]
            autocast=half if case.exact else None, device=self.device,
        )  # fmt: skip
        self._star = key, star
        return star

    def measure(self, case: Case) -> dict[str, Any]:
        """Do a case, and return what it took."""
        shrink = self.sizes.shrink
        case = replace(case, frames=max(2, case.frames // shrink), width=max(16, case.width // shrink),
                       height=max(16, case.height // shrink), segment=max(2, case.segment // shrink))  # fmt: skip
        star = self.star(case)
        values = AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"][0]
        star.memory.apply_plan(
            replace(case.plan, at_once=values, chunk=max(1024, values // (8 * self.sizes.unet.width)))
        )
        overlap = 0 if case.segment >= case.frames else min(SEGMENT_OVERLAP, case.segment)
        segments = plan_segments(case.frames, case.segment, overlap)
        clip = torch.rand(1, 3, case.frames, case.height, case.width, generator=torch.Generator().manual_seed(2))
        clip = clip * 2 - 1

        def work() -> None:
            for segment in segments:
                kept = slice(segment.keep_start - segment.start, segment.keep_stop - segment.start)
                part = clip[:, :, segment.start : segment.stop]
                for frame in star.upscale_frames(part, kept, first_frame=segment.start, num_steps=self.steps):
                    frame.to("cpu")

        if self.device.type == "cuda":  # kernels are chosen and loaded in the first call
            short = clip[:, :, : min(4, case.frames)]
            list(star.upscale_frames(short, slice(0, 1), num_steps=1))
        seen = max(segment.num_frames for segment in segments)
        prediction = self._prediction(star, seen, case.height, case.width)
        record = self._timed(work, prediction, star)
        size = self._latents(star, case.height, case.width)
        flops = sum(self._flops.segment(star, self.steps, segment.num_frames, *size) for segment in segments)
        bound = flops / self.peak
        record |= {"pflop": flops / 1e15, "bound_seconds": bound, "share_of_bound": bound / record["seconds"]}
        return record

    def measure_setting(self, chance: random.Random) -> dict[str, Any]:
        """Draw sizes and a budget, plan, run one step, and compare with the prediction."""
        star = self.star(TOY)
        least = 16 if self.sizes.shrink > 1 else 90
        height, width = (chance.randrange(least, 4 * least) for _ in range(2))
        frames = chance.randint(1, 32 if self.sizes.shrink == 1 else 4)
        rows, columns = self._latents(star, height, width)
        seen = ClipSize(frames, rows, columns)
        footprint = star.memory.footprint
        plans = footprint.candidates(seen, PlanLimits((chance.choice(PLACES),)))
        free = free_bytes(self.device) or 64 * GB
        choice = choose(footprint, [(frames, seen)], plans, int(chance.uniform(0.2, 0.9) * free))
        plan = choice.plan if choice else chance.choice(plans)
        star.memory.apply_plan(plan)
        clip = torch.rand(1, 3, frames, height, width) * 2 - 1
        prediction = self._prediction(star, frames, height, width)
        record = self._timed(lambda: list(star.upscale_frames(clip, slice(None), num_steps=1)), prediction, star)
        return {"frames": frames, "height": height, "width": width, "plan": plan.as_dict(), **record}

    def _latents(self, star: StarI2VGenPipeline, height: int, width: int) -> tuple[int, int]:
        rows, columns = SCALE * height, SCALE * width
        rows, columns = star.padding(rows, columns).padded_size(rows, columns)
        return rows // star.codec.factor, columns // star.codec.factor

    def _prediction(self, star: StarI2VGenPipeline, frames: int, height: int, width: int) -> Prediction:
        rows, columns = self._latents(star, height, width)
        return predict(star.memory.footprint, ClipSize(frames, rows, columns), star.memory.plan or StarPlan())

    def _timed(self, work: Callable[[], object], prediction: Prediction, star: StarI2VGenPipeline) -> dict[str, Any]:
        gc.collect()
        notes = len(star.memory.notes)
        on_gpu = self.device.type == "cuda"
        given = [tensor for network in (self.network, self.vae) for tensor in network.state_dict().values()]
        counter = nullcontext() if on_gpu else LiveBytes(given)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        ran_out = False
        with counter as live:
            began = time.perf_counter()
            try:
                work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = True
            if on_gpu:
                torch.cuda.synchronize(self.device)
            seconds = time.perf_counter() - began
        if on_gpu:
            allocated, reserved = (
                torch.cuda.max_memory_allocated(self.device),
                torch.cuda.max_memory_reserved(self.device),
            )
        else:
            assert live is not None
            resident = star.memory.plan is None or star.memory.plan.place == "resident"
            allocated = reserved = live.peak + (_bytes_of(given) if resident else 0)  # others copy what they need
        counted = prediction.peak - prediction.margin
        return {
            "seconds": seconds,
            "allocated": allocated,
            "reserved": reserved,
            "predicted": prediction.peak,
            "predicted_without_margin": counted,
            "ratio": counted / allocated,
            "ran_out": ran_out or len(star.memory.notes) > notes,
        }


def _bytes_of(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
