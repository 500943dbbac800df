"""The networks as inference runs them: the UNet in two halves, guidance by texts, decoders without an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from starvsr.families.stablevsr.decoder import FrameDecoder
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder
from starvsr.families.stablevsr.split_unet import Encoded, encode, finish


@dataclass(frozen=True, eq=False)
class FrameState:
    """A frame on its way through the UNet: its input, and the first half's result for each text."""

    inputs: Tensor
    encoded: tuple[Encoded, ...]


@dataclass(frozen=True, eq=False)
class InferenceNetworks:
    """What `starvsr.families.stablevsr.sampling.sample` asks; see its protocols.

    Attributes:
        unet: ``UNet2DConditionModel``.
        tcm: ``ControlNetModel``.
        decoder: Decodes clean estimates for the guidance.
        texts: Embedding of the prompt [1, 77, C]; with guidance, that of the negative prompt behind it.
        guidance: Weight of the first text against the second.
        dtype: Number type of UNet and TCM; latents and results are float32.
        strips: The autoencoder's decoder computes its layers in strips of rows; a small decoder never does.
    """

    unet: Any
    tcm: Any
    decoder: FrameDecoder | GuidanceDecoder
    texts: tuple[Tensor, ...]
    guidance: float
    dtype: torch.dtype
    strips: bool = False

    def encode(self, x: Tensor, lq: Tensor, timestep: int) -> list[FrameState]:
        """Run the first half of the UNet; see `starvsr.families.stablevsr.sampling.SplitNetworks`."""
        inputs = torch.cat([x, lq], 1).to(self.dtype)
        encoded = [encode(self.unet, inputs, timestep, text) for text in self.texts]
        return [
            FrameState(inputs[index : index + 1], tuple(each.frame(index) for each in encoded))
            for index in range(len(inputs))
        ]

    def finish(self, state: FrameState, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        """Return the prediction for an encoded frame; see `starvsr.families.stablevsr.sampling.SplitNetworks`."""
        guide = None if guide is None else guide.to(self.dtype)
        predicted = [
            self._finish(state.inputs, encoded, text, timestep, guide, scale).float()
            for encoded, text in zip(state.encoded, self.texts, strict=True)
        ]
        if len(predicted) == 1:
            return predicted[0]
        wanted, unwanted = predicted
        return unwanted + self.guidance * (wanted - unwanted)

    def _finish(
        self, inputs: Tensor, encoded: Encoded, text: Tensor, timestep: int, guide: Tensor | None, scale: float
    ) -> Tensor:
        downs, middle = None, None
        if guide is not None:
            downs, middle = self.tcm(inputs, timestep, text, guide, conditioning_scale=scale, return_dict=False)
        return finish(self.unet, encoded, text, downs, middle)

    def predict(self, x: Tensor, lq: Tensor, timestep: int, guide: Tensor | None, scale: float) -> Tensor:
        """Return the prediction for a latent; see `starvsr.families.stablevsr.sampling.Networks`."""
        (state,) = self.encode(x, lq, timestep)
        return self.finish(state, timestep, guide, scale)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the picture of a clean latent; see `starvsr.families.stablevsr.sampling.Networks`."""
        strips = {"strips": True} if self.strips and isinstance(self.decoder, FrameDecoder) else {}
        picture: Tensor = self.decoder(latent, **strips)
        return picture
