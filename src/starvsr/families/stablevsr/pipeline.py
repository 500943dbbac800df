"""One job's use of StableVSR: its texts, its guidance, its memory plan; enlarges clips in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.diffusion.ddpm import DDPM
from starvsr.diffusion.noise import FrameNoise
from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.traits import Traits
from starvsr.errors import OptionError, ResourceError
from starvsr.families.stablevsr.call_bytes import trace_calls
from starvsr.families.stablevsr.configuration import SCALE
from starvsr.families.stablevsr.flow_bytes import flow_bytes
from starvsr.families.stablevsr.flows import EnlargedFlows
from starvsr.families.stablevsr.footprint import DECODE, FLOW, SAMPLE, Maps, StableVSRFootprint
from starvsr.families.stablevsr.inference import InferenceNetworks
from starvsr.families.stablevsr.loaded import LoadedNetworks
from starvsr.families.stablevsr.plan import WHOLE, StableVSRPlan
from starvsr.families.stablevsr.sampling import Guidance, sample
from starvsr.families.stablevsr.strips import can_be_cut
from starvsr.families.stablevsr.tiles import TiledNetworks, axes_of_tiles
from starvsr.models.int8 import largest_unpacked
from starvsr.offload.footprint import ClipSize
from starvsr.offload.manager import MemoryManager
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.planning import PlanRequest, plan_job
from starvsr.offload.traced import ComponentBytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

NUM_STEPS = 50
SMALL_DECODER = "frames were guided by the small decoder of --guidance-decoder in place of the model's own"
MULTIPLE_PX, MIN_SIDE_PX = 4, 32
"""Of the low-quality frame, as in the released code; RAFT needs 128 pixels at four times the size."""


@dataclass(frozen=True)
class Sampling:
    """How one job samples.

    Attributes:
        guidance: How neighbours guide.
        texts: Embedding of the prompt [1, 77, C]; with guidance by texts, that of the negative prompt behind it.
        text_guidance: Weight of the first text against the second.
    """

    guidance: Guidance
    texts: tuple[Tensor, ...]
    text_guidance: float = 1.0


class StableVSRPipeline:
    """A loaded model with the settings of one job. `StableVSRUpscaler` makes it for each job."""

    def __init__(
        self,
        name: str,
        loaded: LoadedNetworks,
        scheduler: DDPM,
        sampling: Sampling,
        *,
        traits: Traits,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.loaded, self.scheduler, self.sampling = name, loaded, scheduler, sampling
        self.traits, self.device = traits, torch.device(device)
        self.networks = InferenceNetworks(
            loaded.unet,
            loaded.tcm,
            loaded.guide,
            tuple(text.to(self.device, loaded.dtype) for text in sampling.texts),
            sampling.text_guidance,
            loaded.dtype,
        )
        self._components = loaded.components()
        self._memory: MemoryManager[StableVSRPlan] | None = None

    @property
    def memory(self) -> MemoryManager[StableVSRPlan]:
        """What places the weights; the networks are traced when it is first asked for."""
        if self._memory is None:
            self._memory = MemoryManager(self._footprint(), self._components, self.device, PLACES, lambda plan: None)
        return self._memory

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the clips were made."""
        notes = [] if self.loaded.guidance_decoder is None or not self.sampling.guidance.scale else [SMALL_DECODER]
        return notes if self._memory is None else [*notes, *self._memory.notes]

    def _footprint(self) -> StableVSRFootprint:
        loaded = self.loaded
        config = loaded.unet.config
        networks = {"unet": loaded.unet, "tcm": loaded.tcm, "vae": loaded.vae}
        sizes = {name: ComponentBytes.of(component) for name, component in self._components.items()}
        return StableVSRFootprint(
            trace=partial(
                trace_calls,
                networks,
                loaded.guide_dtype,
                loaded.dtype,
                None if loaded.guidance_decoder is None else loaded.guidance_decoder.config,
            ),
            maps=Maps(tuple(config.block_out_channels), config.layers_per_block, loaded.dtype.itemsize),
            components=sizes,
            uses=loaded.uses(),
            unpacked=max(largest_unpacked(loaded.unet), largest_unpacked(loaded.tcm)),
            num_texts=len(self.sampling.texts),
            directions=2 if self.sampling.guidance.scale else 0,
            flow=partial(flow_bytes, loaded.flow),
            device="cpu" if self.device.type == "cpu" else "cuda",
            chunked_flow=None if loaded.chunked_flow is None else partial(flow_bytes, loaded.chunked_flow),
            strips=can_be_cut(loaded.vae.decoder),
        )

    def plan(self, wanted: PlanInput, num_steps: int) -> ChunkPlan:
        """Choose segments and the place of the weights for a job.

        Raises:
            OptionError: Frames or tiles are too small, or the schedule has not so many steps.
            ResourceError: The budget is too small.
        """
        sizes, options = wanted.sizes, wanted.options
        self.check_size(sizes.height, sizes.width)
        self.scheduler.timesteps(num_steps)
        if isinstance(options.tile, int):
            if options.tile < MIN_SIDE_PX:
                raise OptionError(f"{self.name} needs tiles of at least {MIN_SIDE_PX} px, not --tile {options.tile}")
            if options.tile_overlap is None:
                overlap = min(self.traits.tile_overlap, (options.tile - 1) // 2)
                options = dataclasses.replace(options, tile_overlap=overlap)
        rows, columns = (side + -side % MULTIPLE_PX for side in (sizes.height, sizes.width))
        request = PlanRequest(sizes, self.traits, options, rows, columns, 1.0, wanted.num_frames)
        memory = self.memory
        try:
            return plan_job(memory.footprint, request, memory.places, memory.free(), wanted.before)
        except ResourceError as error:
            if "flow" in self._components:
                raise ResourceError(f"{error}, or use --flow dis, which needs far less for large frames") from error
            raise

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames that are too small for the optical flow.

        Raises:
            OptionError: A side is below 32 pixels.
        """
        if min(height, width) < MIN_SIDE_PX:
            raise OptionError(f"{self.name} needs at least {MIN_SIDE_PX} px on each side, not {width}x{height}")

    def work_by(self, plan: ChunkPlan) -> None:
        """Apply a plan that `plan` made."""
        assert isinstance(plan.memory_plan, StableVSRPlan)
        self.memory.apply_plan(plan.memory_plan)

    @torch.inference_mode()
    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the kept frames of the enlarged clip, float32 [3, 4H, 4W] each; only those are decoded at the end."""
        if lq.shape[0] != 1:
            raise OptionError(f"one clip at a time, not {lq.shape[0]}")
        height, width = lq.shape[-2:]
        self.check_size(height, width)
        border = (0, -width % MULTIPLE_PX, 0, -height % MULTIPLE_PX)
        frames = F.pad(lq[0].transpose(0, 1).to(self.device, torch.float32), border, mode="replicate")
        clip = ClipSize(len(frames), *frames.shape[-2:])
        kept = self._restored(frames, clip, arguments)[keep]
        for picture in self.memory.attempt_each(DECODE, clip, lambda: map(self._decode, kept)):
            yield picture[:, : SCALE * height, : SCALE * width]

    def _restored(self, frames: Tensor, clip: ClipSize, arguments: ClipArguments) -> list[Tensor]:
        """Return the clean latents; the phases begin again with less when memory runs out."""
        flows = self.memory.attempt(FLOW, clip, lambda: self._flows(frames, arguments))
        return self.memory.attempt(SAMPLE, clip, lambda: self._sample(frames, flows, arguments))

    @property
    def _plan(self) -> StableVSRPlan:
        return self.memory.plan or StableVSRPlan()

    def _decode(self, latent: Tensor) -> Tensor:
        picture: Tensor = self.loaded.decoder(latent, strips=self._plan.decoding_strips)[0].clamp_(-1, 1)
        return picture

    def _flows(self, frames: Tensor, arguments: ClipArguments) -> EnlargedFlows:
        """Estimate the optical flow of the directions in which a step is guided."""
        num_steps = arguments.get("num_steps", NUM_STEPS)
        guided = {step % 2 for step in range(num_steps) if self.sampling.guidance.scale_at(step, num_steps)}
        chunked = self.loaded.chunked_flow if self._plan.chunked_flow else None
        flows = EnlargedFlows(frames, chunked or self.loaded.flow)
        flows.estimate([-1 if backwards else 1 for backwards in sorted(guided)])
        return flows

    def _sample(self, frames: Tensor, flows: EnlargedFlows, arguments: ClipArguments) -> list[Tensor]:
        count, _, height, width = frames.shape
        seed, first_frame = arguments.get("seed", 0), arguments.get("first_frame", 0)
        noise = FrameNoise((1, 4, count, height, width), seed, first_frame, self.device)
        drawn: dict[int | str, Tensor] = {}

        def noise_of(stream: int | str, frame: int) -> Tensor:
            if stream not in drawn:
                drawn.clear()
                drawn[stream] = noise(stream)
            return drawn[stream][:, :, frame]

        num_steps, on_step = arguments.get("num_steps", NUM_STEPS), arguments.get("on_step")

        def on_frame(done: int, total: int) -> None:
            if on_step is not None and done % count == 0:
                on_step(done // count, num_steps)

        plan = self._plan
        return sample(
            self._networks_for(height, width, plan),
            self.scheduler,
            frames,
            [noise_of("start", frame) for frame in range(count)],
            flows,
            self.scheduler.timesteps(num_steps),
            noise_of,
            guidance=self.sampling.guidance,
            at_once=plan.frames_at_once if plan.tiles == WHOLE else 0,
            on_frame=on_frame,
        )

    def _networks_for(self, height: int, width: int, plan: StableVSRPlan) -> InferenceNetworks | TiledNetworks:
        """Return the networks as a plan has them, for frames of so many cells."""
        networks = dataclasses.replace(self.networks, strips=True) if plan.decoding_strips else self.networks
        return networks if plan.tiles == WHOLE else TiledNetworks(networks, axes_of_tiles(height, width, plan))


def sampling_of(values: Mapping[str, Any], encode_text: Any) -> Sampling:
    """Return how a job with these options samples.

    Args:
        values: The job's options by name.
        encode_text: Encodes a prompt to [1, 77, C].

    Raises:
        OptionError: The options contradict each other.
    """
    scale = values.get("texture_scale", 1.0)
    limits = {
        name: values[f"texture_{flag}"]
        for name, flag in (("begin", "start"), ("end", "end"), ("every", "every"))
        if f"texture_{flag}" in values
    }
    if scale == 0 and limits:
        raise OptionError("--texture-scale 0 leaves nothing to limit: leave out --texture-start, -end and -every")
    guidance = Guidance(scale=scale, **limits)
    text_guidance, negative = values.get("guidance", 1.0), values.get("negative_prompt")
    if text_guidance == 1:
        if negative is not None:
            raise OptionError("--negative-prompt has no use without guidance: add --guidance above 1, or leave it out")
        return Sampling(guidance, (encode_text(values.get("prompt") or ""),))
    prompt = values.get("prompt") or ""
    if prompt == (negative or ""):
        raise OptionError(
            "--guidance has no use between two equal texts: add --prompt or --negative-prompt, or leave it out"
        )
    texts = (encode_text(prompt), encode_text(negative or ""))
    return Sampling(guidance, texts, text_guidance)
