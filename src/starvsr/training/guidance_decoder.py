"""A small decoder that trains to give what the frozen autoencoder's decoder gives, for the guidance of StableVSR.

It reads what the sampler's clean estimates look like: the latents of sharp frames, with noise of a random level added
and removed again by the frozen UNet in one step. So it sees blurred estimates of early steps as well as sharp ones of
late steps, and all that the UNet makes up. At the published size the UNet is a fifth of what such a step computes
(0.29 of 1.3 TFLOP for a sample of 256 x 256 pixels; encoder and decoder of the autoencoder are the rest), so latents
with a little noise in the place of estimates would save little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from starvsr.diffusion.noise import FrameNoise
from starvsr.families.stablevsr.guidance_decoder import CONFIG, FOLDER, Described, GuidanceDecoder, fingerprint
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.sampling import Flows, Guidance, sample
from starvsr.training.diffusers_folder import write_json, write_tensors
from starvsr.training.frozen_upscaler import FrozenUpscalerModel


@dataclass(kw_only=True)
class GuidanceDecoderModel(FrozenUpscalerModel):
    """A decoder for the guidance (``network``) and what it is trained with, all of which is frozen."""

    @property
    def described(self) -> Described:
        """What the decoder's configuration file says."""
        config = cast(GuidanceDecoder, self.network).config
        return Described(config, float(self.vae.config.scaling_factor), fingerprint(self.vae))

    @torch.no_grad()
    def estimates(self, gt: Tensor, lq: Tensor, t: Tensor, posterior: Tensor, noise: Tensor) -> Tensor:
        """Return clean latents as the UNet alone estimates them, [B, C, h, w].

        Args:
            gt: sharp frames [B, 3, 4h, 4w] in [-1, 1].
            lq: low-quality ones [B, 3, h, w].
            t: int64 timesteps [B].
            posterior: unit noise of the encoder [B, C, h, w].
            noise: unit noise that is added.
        """
        noisy = self.schedule.add_noise(self.encode(gt, posterior), noise, t)
        estimate = self.clean(self.predict_by(None, noisy, lq, t, None), noisy, t)
        config = self.scheduler.config
        limit = config.clip_sample_range
        return estimate.clamp(-limit, limit) if config.clip_sample else estimate

    def pictures(self, latents: Tensor, network: nn.Module | None = None) -> Tensor:
        """Decode latents [B, C, h, w] by the network (or another of its kind) with gradient; [B, 3, 4h, 4w]."""
        with torch.autocast(latents.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            made: Tensor = (network or self.network)(latents)
        return made.float()

    def upscale(self, lq: Tensor, network: nn.Module | None = None) -> Tensor:
        """Sample a clip in as many steps as a validation takes, without gradient; see :class:`TrainingModel`."""
        return self._sample(lq, self.validation_steps, 0, network)

    def restore(self, lq: Tensor, num_steps: int = 1, seed: int = 0) -> Tensor:
        """Sample each frame of a clip [1, 3, T, h, w] by the UNet alone, and decode it by the network."""
        return self._sample(lq, num_steps, seed)

    def save_readable(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged decoder to `folder/guidance_decoder`, as `upscale --guidance-decoder` opens it."""
        write_decoder(folder / FOLDER, self.described, average)

    @torch.no_grad()
    def _sample(self, lq: Tensor, num_steps: int, seed: int, network: nn.Module | None = None) -> Tensor:
        (clip,), count, (height, width) = lq.float(), lq.shape[2], lq.shape[-2:]
        noise = FrameNoise((1, self.latent_channels, count, height, width), seed, 0, lq.device)
        latents = sample(
            DiffusersNetworks(self.unet, None, self.vae, self.text),
            self.scheduler,
            clip.transpose(0, 1),
            list(noise("start").unbind(2)),
            cast(Flows, None),
            self.scheduler.timesteps(num_steps),
            lambda step, frame: noise(step)[:, :, frame],
            guidance=Guidance(scale=0.0),
        )
        return torch.stack([self.pictures(latent, network).clamp(-1, 1) for latent in latents], 2)


def write_decoder(folder: Path, described: Described, tensors: Mapping[str, Tensor]) -> None:
    """Write the folder of a decoder, whole or not at all; one that is there is replaced.

    Args:
        folder: gets configuration and weights, in float32.
        described: the configuration.
        tensors: the weights.

    Raises:
        OutputNotWritableError: the disk is full or closed to us.
    """
    write_tensors(folder, lambda partial: write_json(partial / CONFIG, described.as_json()), tensors)
