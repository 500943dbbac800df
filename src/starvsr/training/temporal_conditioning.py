"""A temporal conditioning module (TCM) that trains beside a frozen diffusion upscaler of single frames.

Source: StableVSR (arXiv 2311.15908).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.diffusion.noise import FrameNoise
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.sampling import sample, to_pixels
from starvsr.families.stablevsr.warp import published_warp
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.training.diffusers_folder import write_network
from starvsr.training.frozen_upscaler import FrozenUpscalerModel


@dataclass(kw_only=True)
class TemporalConditioningModel(FrozenUpscalerModel):
    """A TCM (``network``, a ``ControlNetModel``) and what it is trained with, all of which is frozen."""

    flow: FlowEstimator

    def predict(self, noisy: Tensor, lq: Tensor, t: Tensor, guide: Tensor | None) -> Tensor:
        """Return the prediction of noisy latents, float32 [B, C, h, w].

        Args:
            noisy: [B, C, h, w].
            lq: low-quality frames [B, 3, h, w] in [-1, 1].
            t: int64 timesteps [B].
            guide: what the frames are to look like, [B, 3, 4h, 4w]; None leaves the TCM out.
        """
        return self.predict_by(self.network, noisy, lq, t, guide)

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network is to predict: the velocity, or the noise or latents if the scheduler says so."""
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            return self.schedule.velocity(clean, noise, t)
        return noise if kind == "epsilon" else clean

    @torch.no_grad()
    def guide(self, clean: Tensor, lq: Tensor, neighbour_lq: Tensor) -> Tensor:
        """Return the picture of a neighbour brought onto a frame.

        Args:
            clean: the neighbour's clean latents [B, C, h, w].
            lq: the frame [B, 3, h, w] in [-1, 1].
            neighbour_lq: the neighbour.

        Returns:
            [B, 3, 4h, 4w], by the warp of the published weights.
        """
        return published_warp(self.decode(clean), self._flow_between(lq, neighbour_lq))

    def upscale(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Sample a clip in as many steps as a validation takes, without gradient; see :class:`TrainingModel`."""
        return self._sample(lq, self.validation_steps, 0, network)

    def restore(self, lq: Tensor, num_steps: int = 1, seed: int = 0) -> Tensor:
        """Sample a clip [1, 3, T, h, w] as `starvsr upscale` does, see :class:`TrainingModel`."""
        return self._sample(lq, num_steps, seed)

    def save_readable(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged TCM to `folder/controlnet` as diffusers opens it."""
        write_network(folder / "controlnet", self.network, average)

    @torch.no_grad()
    def _sample(self, lq: Tensor, num_steps: int, seed: int, network: nn.Module | None = None) -> Tensor:
        networks = DiffusersNetworks(self.unet, network or self.network, self.vae, self.text)
        (clip,), count, (height, width) = lq.float(), lq.shape[2], lq.shape[-2:]
        frames = clip.transpose(0, 1)
        noise = FrameNoise((1, self.latent_channels, count, height, width), seed, 0, lq.device)

        def flows(target: int, source: int) -> Tensor:
            return self._flow_between(frames[target : target + 1], frames[source : source + 1])

        latents = sample(
            networks,
            self.scheduler,
            frames,
            list(noise("start").unbind(2)),
            flows,
            self.scheduler.timesteps(num_steps),
            lambda step, frame: noise(step)[:, :, frame],
        )
        return torch.stack([to_pixels(networks, latent) for latent in latents], 2)

    def _flow_between(self, frames: Tensor, others: Tensor) -> Tensor:
        """Return the flow between low-quality frames, at the size of the result; not clamped, as published."""
        frames, others = (
            F.interpolate(one, scale_factor=self.scale, mode="bicubic", align_corners=False) for one in (frames, others)
        )
        return self.flow(frames, others)
