"""What trains beside StableVSR's frozen upscaler of single frames: its latents, its schedule, its clean estimates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from starvsr.diffusion.ddpm import DDPM
from starvsr.diffusion.schedules import NoiseSchedule
from starvsr.training.model import TrainingModel


def conditioned(unet: Any, tcm: Any, inputs: Tensor, t: Tensor, text: Tensor, guide: Tensor | None) -> Tensor:
    """Return what a UNet predicts [B, C, h, w] with what a TCM adds to its maps.

    Args:
        unet: ``UNet2DConditionModel``.
        tcm: ``ControlNetModel``; not used without a guide.
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
class FrozenUpscalerModel(TrainingModel):
    """A network that trains beside UNet, autoencoder and text tower, all of which are frozen."""

    unet: Any
    """``UNet2DConditionModel``, 7 channels in."""
    vae: Any
    """``AutoencoderKL``; an encoder that makes a fourth of each side, and its scaling factor."""
    text: Tensor
    """Embedding of the empty prompt, float32 [1, 77, C]."""
    scheduler: DDPM

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

    def predict_by(self, tcm: Any, noisy: Tensor, lq: Tensor, t: Tensor, guide: Tensor | None) -> Tensor:
        """Return the prediction of noisy latents, float32 [B, C, h, w].

        Args:
            tcm: ``ControlNetModel``; not used without a guide.
            noisy: [B, C, h, w].
            lq: low-quality frames [B, 3, h, w] in [-1, 1].
            t: int64 timesteps [B].
            guide: what the frames are to look like, [B, 3, 4h, 4w]; None leaves the TCM out.
        """
        inputs, text, t = torch.cat([noisy, lq], 1), self.text.expand(len(noisy), -1, -1), t.to(noisy.device)
        with torch.autocast(noisy.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            predicted = conditioned(self.unet, tcm, inputs, t, text, guide)
        return predicted.float()

    def clean(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents that a prediction means; not clamped, as in the released training."""
        alpha, sigma = self.schedule.coefficients(t, noisy)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            return alpha * noisy - sigma * predicted
        return (noisy - sigma * predicted) / alpha if kind == "epsilon" else predicted
