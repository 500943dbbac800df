"""StableVSR behind the contract of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.diffusion.ddpm import DDPM
from starvsr.diffusion.noise import FrameNoise
from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.clip_upscaler import ClipArguments, ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings
from starvsr.errors import OptionError
from starvsr.families.settings import job_names, load_names
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.sampling import sample, to_pixels
from starvsr.families.stablevsr.settings import StableVSRSettings
from starvsr.models.flow.estimator import FlowEstimator

if TYPE_CHECKING:
    from typing_extensions import Unpack

SCALE, NUM_STEPS = 4, 50
MULTIPLE_PX, MIN_SIDE_PX = 4, 32
"""Of the low-quality frame, as in the released code; RAFT needs 128 pixels at four times the size."""
SEGMENT, OVERLAP = 24, 4
BYTES_PER_PIXEL, BYTES_PER_TILE_PIXEL = 900, 60_000
"""Counted, not measured: latents, flows and enlarged frames; the decoder's largest maps."""


class StableVSRUpscaler(ClipUpscaler):
    """A loaded StableVSR.

    Args:
        name: Name in the registry.
        networks: UNet, TCM, decoder.
        scheduler: Noise schedule.
        flow: Optical flow on enlarged frames.
        device: Where everything computes.
        dtype: Number type of the networks.
        digest: SHA-256 of the UNet's weights.
        loaded_with: Options given when it was loaded.
    """

    def __init__(
        self,
        name: str,
        networks: DiffusersNetworks,
        scheduler: DDPM,
        flow: FlowEstimator,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        digest: str | None = None,
        loaded_with: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.scale, self.device = name, SCALE, device
        self.loaded_with = loaded_with or {}
        self._networks, self._scheduler, self._flow, self._dtype = networks, scheduler, flow, dtype
        modules = (networks.unet, networks.tcm, networks.vae)
        self.traits = Traits(
            accepts=job_names(StableVSRSettings),
            loads=load_names(StableVSRSettings),
            overlap=OVERLAP,
            tiling="none",
            segment=SEGMENT,
            num_steps=NUM_STEPS,
            fixed_bytes=sum(p.nbytes for module in modules for p in module.parameters()),
            bytes_per_pixel=BYTES_PER_PIXEL,
            bytes_per_tile_pixel=BYTES_PER_TILE_PIXEL,
            digest=digest,
        )

    def plan(self, wanted: PlanInput, settings: JobSettings) -> ChunkPlan:
        """Choose segments for a job; see `ClipUpscaler`.

        Raises:
            OptionError: The frames are too small, or the schedule has not so many steps.
        """
        self._check_size(wanted.sizes.height, wanted.sizes.width)
        self._scheduler.timesteps(settings.num_steps)
        return super().plan(wanted, settings)

    def _check_size(self, height: int, width: int) -> None:
        if min(height, width) < MIN_SIDE_PX:
            raise OptionError(f"{self.name} needs at least {MIN_SIDE_PX} px on each side, not {width}x{height}")

    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]; see `ClipUpscaler`."""
        return torch.stack(list(self.upscale_frames(lq, slice(None), **arguments)), 1)[None]

    @torch.inference_mode()
    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the enlarged frames that are kept; only those are decoded at the end."""
        height, width = lq.shape[-2:]
        self._check_size(height, width)
        frames = F.pad(
            lq[0].transpose(0, 1).to(self.device), (0, -width % MULTIPLE_PX, 0, -height % MULTIPLE_PX), mode="replicate"
        )
        latents = self._sample(frames, arguments)
        for latent in latents[keep]:
            picture = to_pixels(self._networks, latent)[0].float()
            yield picture[:, : SCALE * height, : SCALE * width]

    def _sample(self, frames: Tensor, arguments: ClipArguments) -> list[Tensor]:
        count, _, height, width = frames.shape
        noise = FrameNoise(
            (1, 4, count, height, width),
            arguments.get("seed", 0),
            arguments.get("first_frame", 0),
            self.device,
        )
        drawn: dict[int | str, Tensor] = {}

        def noise_of(stream: int | str, frame: int) -> Tensor:
            if stream not in drawn:
                drawn.clear()
                drawn[stream] = noise(stream).to(self._dtype)
            return drawn[stream][:, :, frame]

        num_steps, on_step = arguments.get("num_steps", NUM_STEPS), arguments.get("on_step")
        return sample(
            self._networks,
            self._scheduler,
            frames.to(self._dtype),
            [noise_of("start", frame) for frame in range(count)],
            EnlargedFlows(frames, self._flow, self._dtype),
            self._scheduler.timesteps(num_steps),
            noise_of,
            on_frame=on_step,
        )


class EnlargedFlows:
    """Optical flow between enlarged neighbours, each estimated once.

    Args:
        frames: [T, 3, h, w] in [-1, 1].
        estimator: The method.
        dtype: Number type of the result.
    """

    def __init__(self, frames: Tensor, estimator: FlowEstimator, dtype: torch.dtype) -> None:
        self._frames, self._estimator, self._dtype = frames.float(), estimator, dtype
        self._flows: dict[tuple[int, int], Tensor] = {}

    def __call__(self, target: int, source: int) -> Tensor:
        """Return the flow between two frames, enlarged by bicubic interpolation without clamping, as published."""
        if (target, source) not in self._flows:
            flow = self._estimator(self._enlarged(target), self._enlarged(source))
            self._flows[target, source] = flow.to(self._dtype)
        return self._flows[target, source]

    def _enlarged(self, index: int) -> Tensor:
        frame = self._frames[index : index + 1]
        return F.interpolate(frame, scale_factor=SCALE, mode="bicubic", align_corners=False)
