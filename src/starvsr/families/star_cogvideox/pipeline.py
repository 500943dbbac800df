"""One job's use of STAR on CogVideoX: its texts, guidance and memory plan; restores clips in memory.

Enlarge, encode in one pass, sample from noise beside the low-quality latents, decode. Clips have 4k + 1 frames. Long
ones are sampled in windows, large frames in tiles, both as long and as large as the network was trained with, and
their clean estimates are blended at every step.

Source: STAR (arXiv 2501.02976) on CogVideoX (arXiv 2408.06072), and its released code.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.diffusion.denoiser import Denoise, in_windows
from starvsr.diffusion.tiling import in_tiles
from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import StepCallback
from starvsr.errors import OptionError
from starvsr.families.star_cogvideox.codec import PIECE_FRAMES, CogVideoXCodec
from starvsr.families.star_cogvideox.footprint import DECODE, ENCODE, SAMPLE, TRANSFORMER, VAE, CogVideoXFootprint
from starvsr.families.star_cogvideox.guidance import GuidanceCurve
from starvsr.families.star_cogvideox.noise import ReleasedNoise, Source, frame_noise
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.families.star_cogvideox.preprocess import minimal_border, prepared, prepared_as_released
from starvsr.families.star_cogvideox.sampling import denoiser, dpmpp_2m
from starvsr.families.star_cogvideox.schedule import NUM_STEPS, CogVideoXSchedule, Steps
from starvsr.families.star_cogvideox.tiles import CELL_PX, axis_of_tiles, latent_count
from starvsr.imaging.color import adain
from starvsr.imaging.frames import crop, truncate_to_bytes
from starvsr.models.cogvideox.transformer import StarCogVideoX
from starvsr.models.int8 import computing_dtype, largest_unpacked
from starvsr.offload.footprint import ClipSize
from starvsr.offload.manager import MemoryManager
from starvsr.offload.memory_plan import PLACES
from starvsr.offload.planning import PlanRequest, plan_job
from starvsr.offload.traced import ComponentBytes
from starvsr.offload.weights import Component
from starvsr.padding import Padding
from starvsr.windows import STRETCH, Window, split_windows

if TYPE_CHECKING:
    from typing_extensions import Unpack

WINDOW_FRAMES = 25
_WINDOW_OVERLAP = 2
"""Latent frames that neighbouring windows share."""
TILE_OVERLAP_PX = 64
"""Pixels of the result that neighbouring tiles of the transformer share."""
OTHER_SIZE = (
    "--exact: the released code restores 25 frames of 720x480 and nothing else; {0} of {1}x{2} were restored by its "
    "choices in one piece, for which there is no result of its to compare with"
)


@dataclass(frozen=True, eq=False)
class Sampling:
    """How one job samples.

    Attributes:
        prompt: Encoded prompt, [1, L, C].
        other: What stands for no prompt, or the encoded negative prompt, likewise.
        guidance: Weight of the prompt over the steps.
        window: Frames that the network sees at once, 4k + 1.
        exact: Make the released code's choices.
    """

    prompt: Tensor
    other: Tensor
    guidance: GuidanceCurve = field(default_factory=GuidanceCurve)
    window: int = WINDOW_FRAMES
    exact: bool = False


class StarCogVideoXPipeline:
    """A loaded model with the settings of one job. `StarCogVideoXUpscaler` makes it for each job.

    Args:
        name: Name in the registry.
        transformer: The transformer, on its device or in the host's memory.
        vae: AutoencoderKLCogVideoX, likewise.
        sampling: Texts, guidance, windows.
        scale: Enlargement.
        traits: What the engine must know.
        device: Where they compute.
    """

    def __init__(
        self,
        name: str,
        transformer: StarCogVideoX,
        vae: Any,
        sampling: Sampling,
        *,
        scale: int,
        traits: Traits,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.transformer, self.sampling, self.scale = name, transformer, sampling, scale
        self.device, self.dtype = torch.device(device), computing_dtype(transformer)
        self.traits = dataclasses.replace(traits, tile_overlap=max(1, TILE_OVERLAP_PX // scale))
        self.codec = CogVideoXCodec(vae, piece=None if sampling.exact else PIECE_FRAMES, device=self.device)
        self.schedule = CogVideoXSchedule(1.0 if transformer.config.use_rotary_positional_embeddings else 3.0)
        self._texts = tuple(text.to(self.device, self.dtype) for text in (sampling.other, sampling.prompt))
        self._components = {
            TRANSFORMER: Component(transformer, list(transformer.transformer_blocks)),
            VAE: Component(vae),
        }
        self._notes: list[str] = []
        self._memory: MemoryManager[CogVideoXPlan] | None = None

    @property
    def memory(self) -> MemoryManager[CogVideoXPlan]:
        """What places the weights; made when it is first asked for."""
        if self._memory is None:
            self._memory = MemoryManager(self._footprint(), self._components, self.device, PLACES, self._apply)
        return self._memory

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the clips were made."""
        return [*self._notes, *(() if self._memory is None else self._memory.notes)]

    def _apply(self, plan: CogVideoXPlan) -> None:
        self.codec.tiles = plan.coding_tiles

    def _footprint(self) -> CogVideoXFootprint:
        vae = self.codec.vae
        return CogVideoXFootprint(
            config=self.transformer.config,
            vae=json.dumps({key: value for key, value in dict(vae.config).items() if key[0] != "_"}, sort_keys=True),
            dtype=self.dtype,
            components={name: ComponentBytes.of(component) for name, component in self._components.items()},
            unpacked=largest_unpacked(self.transformer),
            window=self._window_latents,
            piece=self.codec.piece,
            scale=self.scale,
            device="cpu" if self.device.type == "cpu" else "cuda",
        )

    @property
    def _window_latents(self) -> int:
        """Latent frames of the longest window: a clip that is up to a quarter longer is one."""
        return 1 << 30 if self.sampling.exact else int(latent_count(self.sampling.window) * (1 + STRETCH))

    def plan(self, wanted: PlanInput) -> ChunkPlan:
        """Choose segments, tiles and the place of the weights for a job.

        Raises:
            ResourceError: The budget is too small.
        """
        sizes = wanted.sizes
        height, width = sizes.height * self.scale, sizes.width * self.scale
        rows, columns = (side // CELL_PX for side in minimal_border(height, width).padded_size(height, width))
        request = PlanRequest(
            sizes, self.traits, wanted.options, rows, columns, CELL_PX / self.scale, wanted.num_frames
        )
        memory = self.memory
        return plan_job(memory.footprint, request, memory.places, memory.free(), wanted.before)

    def work_by(self, plan: ChunkPlan) -> None:
        """Apply a plan that `plan` made."""
        assert isinstance(plan.memory_plan, CogVideoXPlan)
        self.memory.apply_plan(plan.memory_plan)

    @torch.inference_mode()
    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the kept frames of the restored clip.

        Args:
            lq: [1, 3, T, H, W] in [-1, 1]; T is 4k + 1.
            keep: The frames wanted.
            arguments: Seed, steps, place in the video.

        Yields:
            float32 [3, scale * H, scale * W] in [-1, 1].
        """
        if lq.shape[0] != 1:
            raise OptionError(f"one clip at a time, not {lq.shape[0]}")
        height, width = (self.scale * side for side in lq.shape[-2:])
        padding = minimal_border(height, width)
        rows, columns = (side // CELL_PX for side in padding.padded_size(height, width))
        clip = ClipSize(lq.shape[2], rows, columns)
        shape = 1, self.codec.channels, latent_count(lq.shape[2]), rows, columns
        noise = self._noise(shape, arguments.get("seed", 0), arguments.get("first_frame", 0))
        if self.sampling.exact:
            self._tell_of_other_size(lq.shape[2], height, width)
        latents = self._restored(lq, padding, clip, noise, arguments)
        frames = self.memory.attempt_each(DECODE, clip, lambda: self.codec.decode(latents, keep))
        for frame, source in zip(frames, lq[0].unbind(1)[keep], strict=True):
            yield self._finish(crop(frame, padding), source)

    def _restored(
        self, lq: Tensor, padding: Padding, clip: ClipSize, noise: Source, arguments: ClipArguments
    ) -> Tensor:
        """Return clean latents [1, C, t, h, w]; the phases begin again with less when memory runs out."""
        hint = self.memory.attempt(ENCODE, clip, lambda: self._encode(lq, padding, noise))
        steps, on_step = self.schedule.steps(arguments.get("num_steps", NUM_STEPS)), arguments.get("on_step")
        return self.memory.attempt(SAMPLE, clip, lambda: self.sample(hint, steps, noise, on_step))

    def _noise(self, shape: tuple[int, ...], seed: int, first_frame: int) -> Source:
        if self.sampling.exact:
            return ReleasedNoise(shape, seed=seed, device=self.device)
        return frame_noise(shape, seed=seed, first_frame=first_frame, device=self.device)

    def _tell_of_other_size(self, num_frames: int, height: int, width: int) -> None:
        note = OTHER_SIZE.format(num_frames, width, height)
        if (num_frames, height, width) != (WINDOW_FRAMES, 480, 720) and note not in self._notes:
            self._notes.append(note)

    def _encode(self, lq: Tensor, padding: Padding, noise: Source) -> Tensor:
        """Return the low-quality latents [1, C, t, h, w]; the enlarged clip lies in the host's memory."""
        prepare = prepared_as_released if self.sampling.exact else prepared
        return self.codec.encode(prepare(lq.cpu(), self.scale, padding), noise("vae"))

    def sample(self, hint: Tensor, steps: Steps, noise: Source, on_step: StepCallback | None = None) -> Tensor:
        """Return clean latents [1, C, t, h, w] for the low-quality latents ``hint``."""
        plan = self.memory.plan or CogVideoXPlan()
        rows, columns = (
            axis_of_tiles(cells, count, plan.tile_overlap)
            for cells, count in zip(hint.shape[-2:], plan.tiles, strict=True)
        )

        def denoise_for(window: Window) -> Denoise:
            return in_tiles(lambda tile: self._denoiser(hint, steps, (window, *tile)), rows, columns)

        def after_step(index: int, num_steps: int, _x0: Tensor) -> None:
            if on_step is not None:
                on_step(index + 1, num_steps)

        return dpmpp_2m(
            in_windows(denoise_for, self.windows(hint.shape[2]), blend="cosine"),
            noise("start").to(hint.device),
            steps,
            noise=lambda index: noise(index).to(hint.device),
            on_step=after_step,
        )

    def windows(self, count: int) -> list[Window]:
        """Return the windows of a clip of so many latent frames."""
        if self.sampling.exact:
            return [Window(0, count, 0, count)]
        window = latent_count(self.sampling.window)
        return split_windows(count, window, min(_WINDOW_OVERLAP, window - 1), stretch=STRETCH)

    def _denoiser(self, hint: Tensor, steps: Steps, part: tuple[Window, Window, Window]) -> Denoise:
        """Return the denoiser of a part of the clip: a time window, rows and columns."""
        frames, rows, columns = (slice(axis.start, axis.stop) for axis in part)
        control = hint[:, :, frames, rows, columns].transpose(1, 2).to(self.dtype)

        def velocity(x: Tensor, timestep: int, with_prompt: bool) -> Tensor:
            seen = torch.cat([x.transpose(1, 2).to(self.dtype), control], 2)
            time = torch.tensor([float(timestep)], device=x.device)
            out: Tensor = self.transformer(seen, time, self._texts[int(with_prompt)])
            return out.transpose(1, 2)

        return denoiser(velocity, steps, self.sampling.guidance)

    def _finish(self, frame: Tensor, source: Tensor) -> Tensor:
        """Give a decoded frame [3, H, W] its final values.

        The released code matches colours, here to the enlarged frame in place of the ground truth, and cuts fractions
        off; otherwise colours and rounding are left to the stream.
        """
        frame = frame.clamp(-1, 1)
        if not self.sampling.exact:
            return frame
        enlarged = prepared_as_released(source[None, :, None], self.scale, Padding()).to(frame)
        matched = adain(frame[None, :, None], enlarged)
        return truncate_to_bytes(matched)[0, :, 0].float() / 127.5 - 1
