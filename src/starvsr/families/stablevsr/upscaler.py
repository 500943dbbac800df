"""A loaded StableVSR behind the contract of models; each job gets a pipeline with its own texts, guidance and plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.diffusion.ddpm import DDPM
from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.traits import ClipLengths, Traits
from starvsr.engine.upscaler import JobSettings
from starvsr.errors import OptionError
from starvsr.families.planned import PlannedUpscaler
from starvsr.families.settings import job_names, load_names
from starvsr.families.stablevsr.loaded import LoadedNetworks
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.pipeline import (
    MIN_SIDE_PX,
    NUM_STEPS,
    SCALE,
    StableVSRPipeline,
    sampling_of,
)
from starvsr.families.stablevsr.settings import StableVSRSettings
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.int8 import weight_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

SEGMENT, OVERLAP, TILE_OVERLAP_PX = 24, 4, 32
ACCEPTED, LOADS = job_names(StableVSRSettings), load_names(StableVSRSettings)
EncodeText = Callable[[str], Tensor]
"""Prompt -> embedding [1, 77, C]."""


class StableVSRUpscaler(PlannedUpscaler):
    """A loaded StableVSR.

    Args:
        name: Name in the registry.
        networks: UNet, TCM, autoencoder, the embedding of the empty prompt, and a decoder for the guidance if there is
            one beside the autoencoder's.
        scheduler: Noise schedule.
        flow: Optical flow on enlarged frames.
        device: Where everything computes.
        encode_text: Encodes prompts; None knows the empty one alone.
        digest: SHA-256 of the weights.
        loaded_with: Options given when it was loaded.
    """

    accepts = ACCEPTED

    def __init__(
        self,
        name: str,
        networks: DiffusersNetworks,
        scheduler: DDPM,
        flow: FlowEstimator,
        *,
        device: str = "cpu",
        encode_text: EncodeText | None = None,
        digest: str | None = None,
        loaded_with: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, device=device, loaded_with=loaded_with)
        self.scale = SCALE
        parts = (networks.unet, networks.tcm, networks.vae)
        decoder = networks.guidance_decoder
        self._loaded = LoadedNetworks(*parts, flow, decoder)
        self._scheduler, self._empty = scheduler, networks.text
        self._encode = encode_text or self._only_empty
        self.traits = Traits(
            accepts=ACCEPTED,
            loads=LOADS,
            overlap=OVERLAP,
            least_side=MIN_SIDE_PX,
            tiling="family",
            tile_overlap=TILE_OVERLAP_PX,
            segment=SEGMENT,
            num_steps=NUM_STEPS,
            write_behind=SEGMENT,
            fixed_bytes=sum(weight_bytes(network) for network in (*parts, decoder) if network is not None),
            digest=digest,
        )

    def _only_empty(self, prompt: str) -> Tensor:
        if prompt:
            raise OptionError("this model was made without a text encoder: leave out --prompt and --negative-prompt")
        return self._empty

    def traits_for(self, values: Mapping[str, Any]) -> Traits:
        """Return the traits with these job options; ``exact`` sees the whole clip."""
        lengths = ClipLengths(whole=bool(values.get("exact")))
        return dataclasses.replace(self.traits, scales=(SCALE,), lengths=lengths)

    def pipeline(self, values: Mapping[str, Any] | None = None) -> StableVSRPipeline:
        """Return a pipeline with these job options, which replace those that the model was loaded with.

        Raises:
            OptionError: The options contradict each other, or a prompt is too long.
        """
        values = self.with_defaults(values)
        return StableVSRPipeline(
            self.name,
            self._loaded,
            self._scheduler,
            sampling_of(values, self._encode),
            traits=self.traits_for(values),
            device=self.device,
        )

    def pipeline_for(self, settings: JobSettings) -> StableVSRPipeline:
        """Return the pipeline of a job; see `pipeline`."""
        return self.pipeline(settings.values)

    def plan(self, wanted: PlanInput, settings: JobSettings) -> ChunkPlan:
        """Choose segments and the place of the weights for a job.

        Raises:
            OptionError: The frames are too small, or the schedule has not so many steps.
            ResourceError: Nothing fits the memory that the user named.
        """
        return self.pipeline_for(settings).plan(wanted, settings.num_steps)

    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]; see `ClipUpscaler`."""
        return torch.stack(list(self.upscale_frames(lq, slice(None), **arguments)), 1)[None]

    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the enlarged frames that are kept, with the options that the model was loaded with."""
        pipeline = self.pipeline()
        try:
            self._turns.take(pipeline)
            yield from pipeline.upscale_frames(lq, keep, **arguments)
        finally:
            self._turns.leave(pipeline)
