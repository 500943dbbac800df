"""A temporal conditioning module (TCM) that trains beside a frozen diffusion upscaler of single frames.

Source: StableVSR (arXiv 2311.15908).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.diffusion.ddpm import DDPM
from starvsr.diffusion.noise import FrameNoise
from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.sampling import sample, to_pixels
from starvsr.families.stablevsr.warp import published_warp
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.training.diffusers_folder import write_network
from starvsr.training.model import TrainingModel


def conditioned(unet: Any, tcm: Any, inputs: Tensor, t: Tensor, text: Tensor, guide: Tensor | None) -> Tensor:
    """Return what a UNet predicts [B, C, h, w] with what a TCM adds to its maps.

    Args:
        unet: ``UNet2DConditionModel``.
        tcm: ``ControlNetModel``.
        inputs: noisy latents and low-quality frames, [B, 7, h, w].
        t: int64 timesteps [B].
        text: [B, L, C].
        guide: what the frames are to look like, [B, 3, 4h, 4w]; None leaves the TCM out.
    """
    downs, middle = None, None
    if guide is not None:
        downs, middle = tcm(inputs, t, text, guide, return_dict=False)
    added = {"down_block_additional_residuals": downs, "mid_block_additional_residual": middle}
    (predicted,) = unet(inputs, t, text, **added, return_dict=False)
    result: Tensor = predicted
    return result


@dataclass(kw_only=True)
class TemporalConditioningModel(TrainingModel):
    """A TCM (``network``, a ``ControlNetModel``) and what it is trained with, all of which is frozen."""

    unet: Any
    """``UNet2DConditionModel``, 7 channels in."""
    vae: Any
    """``AutoencoderKL``; an encoder that makes a fourth of each side, and its scaling factor."""
    text: Tensor
    """Embedding of the empty prompt, float32 [1, 77, C]."""
    scheduler: DDPM
    flow: FlowEstimator

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """Noise levels of training."""
        abar = self.scheduler.alphas_cumprod
        return NoiseSchedule(abar.sqrt(), (1 - abar).sqrt())

    @property
    def latent_channels(self) -> int:
        """C of latents."""
        return int(self.vae.config.latent_channels)

    @torch.no_grad()
    def encode(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Draw latents [B, C, h, w] of pictures [B, 3, 4h, 4w] in [-1, 1] from their posterior, by unit noise."""
        posterior = self.vae.encode(pictures).latent_dist
        latents: Tensor = (posterior.mean + posterior.std * noise) * self.vae.config.scaling_factor
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode clean latents [B, C, h, w] to pictures [B, 3, 4h, 4w], not clamped."""
        pictures: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return pictures

    def predict(self, noisy: Tensor, lq: Tensor, t: Tensor, guide: Tensor | None) -> Tensor:
        """Return the prediction of noisy latents, float32 [B, C, h, w].

        Args:
            noisy: [B, C, h, w].
            lq: low-quality frames [B, 3, h, w] in [-1, 1].
            t: int64 timesteps [B].
            guide: what the frames are to look like, [B, 3, 4h, 4w]; None leaves the TCM out.
        """
        inputs, text, t = torch.cat([noisy, lq], 1), self.text.expand(len(noisy), -1, -1), t.to(noisy.device)
        with torch.autocast(noisy.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            predicted = conditioned(self.unet, self.network, inputs, t, text, guide)
        return predicted.float()

    def clean(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents that a prediction means; not clamped, as in the released training."""
        alpha, sigma = self.schedule.coefficients(t, noisy)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            return alpha * noisy - sigma * predicted
        return (noisy - sigma * predicted) / alpha if kind == "epsilon" else predicted

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
