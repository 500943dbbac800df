"""The published STAR on I2VGen-XL (2.04 B parameters): star-light and star-heavy.

Enlarge, pad, encode, diffuse to t = 899, denoise under the control of the low-quality latents and of two prompts,
decode. Knows clips in memory only; the engine cuts videos into them, load.py gets the weights.

Source: STAR (arXiv 2501.02976) and its released code. Where that code's choices harm the result, reference.py has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from starvsr.diffusion.denoiser import Denoise, in_windows
from starvsr.diffusion.samplers import SAMPLERS, released_start
from starvsr.diffusion.schedules import star_schedule
from starvsr.diffusion.tiling import in_tiles
from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import StepCallback
from starvsr.errors import OptionError
from starvsr.families.star_i2vgen.acceleration import CompiledNetwork, attention_scope
from starvsr.families.star_i2vgen.footprint.forecast import StarFootprint, axes_of, streamed_bytes
from starvsr.families.star_i2vgen.footprint.plan import StarPlan
from starvsr.families.star_i2vgen.reference import Source
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling, Text
from starvsr.imaging.color import adain
from starvsr.imaging.frames import crop, enlarge, pad_reflect, pad_white, truncate_to_bytes
from starvsr.models.feature_cache import FeatureCache, FeatureCaches
from starvsr.models.int8 import computing_dtype, largest_unpacked, weight_bytes
from starvsr.models.star.attention import Context, TextContext
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.offload.footprint import ClipSize
from starvsr.offload.manager import MemoryManager
from starvsr.offload.memory_plan import PLACES, Place
from starvsr.offload.planning import PlanRequest, plan_job
from starvsr.offload.weights import Component
from starvsr.padding import Padding
from starvsr.windows import Window

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["FAST_STEPS", "SCALE", "Sampling", "StarI2VGenPipeline"]

SCALE = 4


class StarI2VGenPipeline:
    """A published STAR network with the settings of one job: enlarges clips. `StarI2VGen` makes it for each job."""

    scale = SCALE

    def __init__(
        self,
        name: str,
        network: StarUNet,
        codec: TemporalVaeCodec,
        contexts: tuple[Tensor, Tensor],
        sampling: Sampling | None = None,
        *,
        traits: Traits | None = None,
        autocast: torch.dtype | None = None,
        attention: str = "auto",
        compile: str | CompiledNetwork | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            name: Name in the registry.
            network: UNet with ControlNet, on its device or in the host's memory.
            codec: The temporal autoencoder, likewise.
            contexts: Encoded prompt and negative prompt, [1, L, D] each.
            sampling: Guidance, windows, choices.
            traits: What the streaming must know.
            autocast: Number type that the network's layers are cast to one by one, norms staying in float32, as the
                released code does; None computes throughout in the type of the weights.
            attention: Kernel of the network's attention, see acceleration.py.
            compile: Mode of torch.compile for the network's blocks, or the network that is compiled already; None
                leaves them as they are.
            device: Where they compute; None is where the network's weights lie.

        Raises:
            OptionError: the device does not have this attention.
        """
        self.name, self.network, self.codec = name, network.eval(), codec
        self.sampling = sampling or Sampling()
        self.traits = traits or Traits(num_steps=FAST_STEPS)
        self.schedule = star_schedule()
        self._autocast = autocast
        self.device = torch.device(device or next(network.parameters()).device)
        self.dtype = computing_dtype(network)
        self.contexts = tuple(context.to(self.device, self.dtype) for context in contexts)
        self._compiled = CompiledNetwork(self.network, compile) if isinstance(compile, str) else compile
        components = {"network": Component(network, network.modules_as_run()), "vae": Component(codec.vae)}
        self.memory = MemoryManager(self._footprint(), components, self.device, self._places(), self._apply)
        self._attention = attention_scope(attention, self.device, autocast or self.dtype, network.config.head_dim)
        self._texts = self._read_texts()

    def _apply(self, plan: StarPlan) -> None:
        """Set the network's and the autoencoder's part of a memory plan."""
        self.codec.tiles = plan.coding_tiles
        self.network.budget.max_elements, self.network.budget.max_tokens = plan.at_once, plan.chunk

    def _footprint(self) -> StarFootprint:
        sampling, network = self.sampling, self.network
        guided = sampling.guidance != 1
        together = guided and sampling.guidance_pair == "together"
        item = (self._autocast or self.dtype).itemsize
        decode_item = item if self.codec.decode_dtype in (torch.float16, torch.bfloat16) else 4
        largest = largest_unpacked(network)
        return StarFootprint(
            unet=network.config,
            vae=self.codec.vae.config,
            network_bytes=weight_bytes(network) + largest,
            streamed_bytes=streamed_bytes(network.config, 1 if largest else self.dtype.itemsize) + largest,
            vae_bytes=weight_bytes(self.codec.vae),
            item=item,
            decode_item=decode_item,
            group=self.codec.group,
            window=sampling.window,
            window_join=sampling.choices.window_join,
            texts=2 if together else 1,
            kept_texts=0 if sampling.feature_cache == 1 else 1 + guided,
            context_tokens=self.contexts[0].shape[1],
            device="cpu" if self.device.type == "cpu" else "cuda",
        )

    def _places(self) -> tuple[Place, ...]:
        recorded = self._compiled is not None and self._compiled.mode == "reduce-overhead"
        return ("resident",) if recorded else PLACES  # recorded graphs know addresses

    def _read_texts(self) -> dict[Text, Context]:
        """Return what the network reads; keys and values are kept over steps, except by what is compiled."""
        positive, negative = self.contexts
        texts: dict[Text, Tensor] = {"positive": positive, "negative": negative}
        if self.sampling.guidance_pair == "together":
            texts["both"] = torch.cat(self.contexts)
        return {name: text if self._compiled else TextContext(text) for name, text in texts.items()}

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the clips were made."""
        return [*(self._compiled.notes if self._compiled else []), *self.memory.notes]

    def plan(self, wanted: PlanInput) -> ChunkPlan:
        """Choose segments, tiles and the place of the weights for a job.

        Raises:
            ResourceError: the budget is too small.
        """
        sizes = wanted.sizes
        height, width = sizes.height * self.scale, sizes.width * self.scale
        rows, columns = (side // self.codec.factor for side in self.padding(height, width).padded_size(height, width))
        cell_px = self.codec.factor / self.scale
        request = PlanRequest(sizes, self.traits, wanted.options, rows, columns, cell_px, wanted.num_frames)
        memory = self.memory
        return plan_job(memory.footprint, request, memory.places, memory.free(), wanted.before)

    def work_by(self, plan: ChunkPlan) -> None:
        """Apply a plan that `plan` made."""
        assert isinstance(plan.memory_plan, StarPlan)
        self.memory.apply_plan(plan.memory_plan)

    @torch.inference_mode()
    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]."""
        return torch.stack(list(self.upscale_frames(lq, slice(None), **arguments)), dim=1)[None]

    @torch.inference_mode()
    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the kept frames of the enlarged clip, float32 [3, 4H, 4W] each; see ``Session``."""
        if lq.shape[0] != 1:
            raise OptionError(f"one clip at a time, not {lq.shape[0]}")
        seed, first_frame, on_step = arguments.get("seed", 0), arguments.get("first_frame", 0), arguments.get("on_step")
        levels = self.sampling.levels(self.schedule, arguments.get("num_steps", FAST_STEPS))
        padding = self.padding(lq.shape[-2] * self.scale, lq.shape[-1] * self.scale)
        shape = self._latent_shape(lq, padding)
        latents = self._restored(lq, padding, levels, self.noise(shape, levels, seed, first_frame), on_step)
        frames = self.memory.attempt_each("decode", ClipSize(*shape[2:]), lambda: self.decode(latents, padding, keep))
        for frame, source in zip(frames, lq[0].unbind(1)[keep], strict=True):
            yield self.finish(frame, source)

    def _restored(
        self, lq: Tensor, padding: Padding, levels: Tensor, noise: Source, on_step: StepCallback | None
    ) -> Tensor:
        """Return clean latents [1, C, T, h, w]; the phases begin again with less when memory runs out."""
        clip = ClipSize(*self._latent_shape(lq, padding)[2:])
        hint = self.memory.attempt("encode", clip, lambda: self.encode(lq, padding, noise))
        return self.memory.attempt("sample", clip, lambda: self.sample(hint, levels, noise, on_step))

    def padding(self, height: int, width: int) -> Padding:
        """Return the border of enlarged frames of ``height`` x ``width`` pixels."""
        return self.sampling.choices.pad(height, width, self.codec.factor)

    def noise(self, shape: tuple[int, ...], levels: Tensor, seed: int, first_frame: int) -> Source:
        """Return the noise of a clip; ``shape`` [1, C, T, h, w] is that of its latents."""
        return self.sampling.choices.noise_source(shape, levels, seed=seed, first_frame=first_frame, device=self.device)

    def _latent_shape(self, lq: Tensor, padding: Padding) -> tuple[int, ...]:
        height, width = padding.padded_size(lq.shape[-2] * self.scale, lq.shape[-1] * self.scale)
        return 1, self.codec.channels, lq.shape[2], height // self.codec.factor, width // self.codec.factor

    def encode(self, lq: Tensor, padding: Padding, noise: Source) -> Tensor:
        """Return the low-quality latents [1, C, T, h, w], enlarging and encoding one frame at a time."""
        draws = noise("vae")
        pad = pad_white if self.sampling.choices.padding == "released" else pad_reflect
        latents = torch.empty_like(draws, device=self.device)
        for index in range(lq.shape[2]):
            frame = lq[:, :, index : index + 1].to(self.device, torch.float32)
            enlarged = pad(enlarge(frame, lq.shape[-2] * self.scale, lq.shape[-1] * self.scale), padding)
            latents[:, :, index] = self.codec.encode_frames(enlarged[:, :, 0], draws[:, :, index].to(self.device))
        return latents

    def start(self, hint: Tensor, levels: Tensor, noise: Source) -> Tensor:
        """Return the low-quality latents diffused to the first level."""
        first = self.schedule.integer_timestep_at(levels[:1])
        return self.schedule.add_noise(hint, noise("start").to(hint.device), first)

    def sample(self, hint: Tensor, levels: Tensor, noise: Source, on_step: StepCallback | None = None) -> Tensor:
        """Return clean latents [1, C, T, h, w] for the low-quality latents ``hint``."""
        windows, blend = self.sampling.choices.windows(hint.shape[2], self.sampling.window)
        caches = FeatureCaches(self.sampling.feature_cache)
        rows, columns = axes_of(self.network.config, hint.shape[3], hint.shape[4], self.memory.plan or StarPlan())

        def denoise_for(window: Window) -> Denoise:
            return in_tiles(lambda tile: self._denoiser(hint, (window, *tile), caches), rows, columns)

        denoise = in_windows(denoise_for, windows, blend=blend)
        start = self.start(hint, levels, noise)
        if self.sampling.choices.start == "released":
            start = released_start(start, levels[0].item())

        def after_step(step: int, num_steps: int, _x0: Tensor) -> None:
            caches.next_step()
            if on_step is not None:
                on_step(step + 1, num_steps)

        sampler = SAMPLERS[self.sampling.sampler]
        return sampler(denoise, start, levels, noise=lambda step: noise(step).to(start.device), on_step=after_step)

    def _denoiser(self, hint: Tensor, part: tuple[Window, Window, Window], caches: FeatureCaches) -> Denoise:
        """Return the denoiser of a part of the clip: a time window, rows and columns."""
        frames, rows, columns = (slice(axis.start, axis.stop) for axis in part)
        control = hint[:, :, frames, rows, columns].to(self.dtype)

        def ask(x: Tensor, t: Tensor, text: Text, cache: FeatureCache | None) -> Tensor:
            with self._precision(), self._attention():
                network = self._compiled or self.network
                out: Tensor = network(x.to(self.dtype), t, self._texts[text], control, cache=cache)
            return out

        return self.sampling.denoiser(ask, self.schedule, caches, tuple(axis.start for axis in part))

    def _precision(self) -> AbstractContextManager[object]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._autocast)

    def decode(self, latents: Tensor, padding: Padding, keep: slice = slice(None)) -> Iterator[Tensor]:
        """Yield the kept frames of one clip's latents, cropped, float32 [3, 4H, 4W], about [-1, 1]."""
        wanted = range(latents.shape[2])[keep]
        for index, frame in enumerate(self.codec.decode_frames(latents[0])):
            if index in wanted:
                yield crop(frame, padding)
            if wanted and index == wanted[-1]:
                return

    def finish(self, frame: Tensor, source: Tensor) -> Tensor:
        """Give a decoded frame [3, 4H, 4W] its final values.

        With the released rounding that includes its colour transfer, since fractions are cut off after it; otherwise
        colours and rounding are left to the stream.
        """
        frame = frame.clamp(-1, 1)
        if self.sampling.choices.rounding != "released":
            return frame
        matched = adain(frame[None, :, None], source[None, :, None].to(frame))
        return truncate_to_bytes(matched)[0, :, 0].float() / 127.5 - 1
