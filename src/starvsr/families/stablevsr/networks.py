"""UNet, TCM and decoder of StableVSR, built of diffusers' classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder


@dataclass(frozen=True, eq=False)
class DiffusersNetworks:
    """The networks at work.

    Attributes:
        unet: ``UNet2DConditionModel`` without class embedding: 7 channels in (latent and low-quality frame), 4 out.
        tcm: ``ControlNetModel`` conditioned on a picture of four times the size.
        vae: ``AutoencoderKL`` that enlarges by four; its scaling factor is read from its configuration.
        text: embedding of the prompt [1, 77, C].
        guidance_decoder: decodes clean estimates for the guidance in place of ``vae``; None leaves that to ``vae``.
    """

    unet: Any
    tcm: Any
    vae: Any
    text: Tensor
    guidance_decoder: GuidanceDecoder | None = None

    def predict(self, x: Tensor, lq: Tensor, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        """Return the prediction for a latent; see `starvsr.families.stablevsr.sampling.Networks`."""
        inputs = torch.cat([x, lq.to(x.dtype)], 1)
        downs, middle = None, None
        if guide is not None:
            downs, middle = self.tcm(inputs, timestep, self.text, guide, conditioning_scale=scale, return_dict=False)
        (predicted,) = self.unet(
            inputs,
            timestep,
            self.text,
            down_block_additional_residuals=downs,
            mid_block_additional_residual=middle,
            return_dict=False,
        )
        result: Tensor = predicted
        return result

    def decode(self, latent: Tensor) -> Tensor:
        """Return the picture of a clean latent; see `starvsr.families.stablevsr.sampling.Networks`."""
        (picture,) = self.vae.decode(latent / self.vae.config.scaling_factor, return_dict=False)
        result: Tensor = picture
        return result
