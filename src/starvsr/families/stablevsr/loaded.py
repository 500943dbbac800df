"""The networks of a loaded model: which decoder guides, and what is placed as one in each phase."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from starvsr.families.stablevsr.decoder import FrameDecoder
from starvsr.families.stablevsr.footprint import DECODE, FLOW, SAMPLE
from starvsr.families.stablevsr.guidance_decoder import GuidanceDecoder
from starvsr.families.stablevsr.split_unet import halves
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.raft import RaftFlow
from starvsr.models.int8 import computing_dtype
from starvsr.offload.weights import Component


@dataclass(frozen=True, eq=False)
class LoadedNetworks:
    """The networks of a loaded model, in host memory or on the device, and how their weights are placed.

    Args:
        unet: ``UNet2DConditionModel``.
        tcm: ``ControlNetModel``.
        vae: ``AutoencoderKL``; its decoder computes final frames in float32.
        flow: Optical flow.
        guidance_decoder: Decodes for the guidance in place of ``vae``'s decoder, in the number type of its weights.
    """

    unet: Any
    tcm: Any
    vae: Any
    flow: FlowEstimator
    guidance_decoder: GuidanceDecoder | None = None

    @cached_property
    def decoder(self) -> FrameDecoder:
        """Decodes final frames."""
        return FrameDecoder(self.vae, torch.float32)

    @cached_property
    def guide(self) -> FrameDecoder | GuidanceDecoder:
        """Decodes for the guidance; the model's own does it in half precision where the networks compute in that."""
        if self.guidance_decoder is not None:
            return self.guidance_decoder
        return self.decoder if self.guide_dtype == torch.float32 else FrameDecoder(self.vae, self.guide_dtype)

    @cached_property
    def chunked_flow(self) -> FlowEstimator | None:
        """The optical flow, but computing its table in chunks; None where it has none."""
        return self.flow.in_chunks() if isinstance(self.flow, RaftFlow) else None

    @property
    def dtype(self) -> torch.dtype:
        """Number type of UNet and TCM."""
        return computing_dtype(self.unet)

    @property
    def guide_dtype(self) -> torch.dtype:
        """Number type of the model's decoder for guidance: float16 overflows in it, so bfloat16 stands in for that."""
        return torch.float32 if self.dtype == torch.float32 else torch.bfloat16

    def components(self) -> dict[str, Component]:
        """Return what is placed as one: the halves of the UNet can be streamed, the TCM stays."""
        first, last = halves(self.unet)
        named = {
            "unet encoder": Component(first, [*self.unet.down_blocks, self.unet.mid_block]),
            "unet decoder": Component(last, list(self.unet.up_blocks)),
            "tcm": Component(self.tcm),
            "decoder": Component(self.decoder),
        }
        if self.guide is not self.decoder:
            named["guide"] = Component(self.guide)
        network = getattr(self.flow, "network", None)
        return {**named, "flow": Component(network)} if isinstance(network, nn.Module) else named

    def uses(self) -> dict[str, tuple[str, ...]]:
        """Return the components of each phase."""
        guide = "decoder" if self.guide is self.decoder else "guide"
        return {
            FLOW: ("flow",) if "flow" in self.components() else (),
            SAMPLE: ("unet encoder", "unet decoder", "tcm", guide),
            DECODE: ("decoder",),
        }
