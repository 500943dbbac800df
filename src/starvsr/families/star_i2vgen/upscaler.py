"""A loaded STAR on I2VGen-XL: weights and device; each job gets a pipeline with its own prompts, guidance and plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.traits import ClipLengths, Traits
from starvsr.engine.upscaler import JobSettings
from starvsr.families.planned import PlannedUpscaler
from starvsr.families.settings import job_names, load_names
from starvsr.families.star_i2vgen.acceleration import CompiledNetwork
from starvsr.families.star_i2vgen.pipeline import SCALE, StarI2VGenPipeline
from starvsr.families.star_i2vgen.reference import ReferenceQuirks
from starvsr.families.star_i2vgen.sampling import FAST_STEPS, Sampling
from starvsr.families.star_i2vgen.settings import StarI2VGenSettings
from starvsr.models.int8 import computing_dtype, weight_bytes
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.codec import RELEASED_GROUP, TemporalVaeCodec
from starvsr.models.vae.temporal import TemporalVae
from starvsr.quantities import parse_interval

SEGMENT, SEGMENT_OVERLAP, TILE_OVERLAP_PX = 24, 4, 32
ACCEPTED, LOADS = job_names(StarI2VGenSettings), load_names(StarI2VGenSettings)
QUIRKS = tuple(field.name for field in dataclasses.fields(ReferenceQuirks) if field.name in ACCEPTED)
"""Options that are single choices of `ReferenceQuirks`."""

SAMPLING = tuple(field.name for field in dataclasses.fields(Sampling) if field.name in ACCEPTED)
"""Options that are fields of `Sampling`."""

Contexts = tuple[Tensor, Tensor]
EncodePrompts = Callable[[str | None, str | None, str], Contexts]
"""(prompt, negative prompt, how the prompt is joined) -> both encoded, [1, L, D] each."""


@dataclass(frozen=True)
class Parts:
    """What a loaded model is made of.

    Args:
        network: UNet with ControlNet.
        vae: The temporal autoencoder.
        encode: Encodes prompts.
        digest: SHA-256 of the network's weights.
    """

    network: StarUNet
    vae: TemporalVae
    encode: EncodePrompts
    digest: str | None = None


class StarI2VGen(PlannedUpscaler):
    """A loaded model.

    Args:
        name: Name in the registry.
        parts: Networks and the encoding of prompts.
        device: Where everything computes.
        compile: Mode of torch.compile for the network's blocks; None leaves them as they are.
        loaded_with: Options given when it was loaded.
    """

    accepts = ACCEPTED

    def __init__(
        self,
        name: str,
        parts: Parts,
        *,
        device: str = "cpu",
        compile: str | None = None,
        loaded_with: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, device=device, loaded_with=loaded_with)
        self._parts = parts
        self._compiled = CompiledNetwork(parts.network.eval(), compile) if compile else None
        self._fixed_bytes = weight_bytes(parts.network) + weight_bytes(parts.vae)

    def traits_for(self, values: Mapping[str, Any]) -> Traits:
        """Return the traits with these job options; the released choices see the whole clip."""
        choices = _choices(values)
        return Traits(
            scales=(SCALE,),
            accepts=ACCEPTED,
            loads=LOADS,
            lengths=ClipLengths(whole=bool(values.get("exact"))),
            overlap=SEGMENT_OVERLAP,
            tiling="family",
            tile_overlap=TILE_OVERLAP_PX,
            segment=SEGMENT,
            num_steps=FAST_STEPS,
            color="none" if choices.rounding == "released" else "adain",
            write_behind=SEGMENT,
            fixed_bytes=self._fixed_bytes,
            digest=self._parts.digest,
        )

    def pipeline(self, values: Mapping[str, Any] | None = None) -> StarI2VGenPipeline:
        """Return a pipeline with these job options, which replace those that the model was loaded with.

        Raises:
            OptionError: The options contradict each other or cannot be honoured.
        """
        values = self.with_defaults(values)
        choices, parts = _choices(values), self._parts
        dtype = computing_dtype(parts.network)
        half = dtype if dtype == torch.float16 else None  # the decoder stays in float32 beside a bfloat16 network
        groups = {"group": RELEASED_GROUP, "overlap": 0} if choices.decode_groups == "released" else {}
        given = {name: values[name] for name in SAMPLING if name in values}
        if "guidance_interval" in given:
            given["guidance_interval"] = parse_interval(given["guidance_interval"])
        sampling = Sampling(**given, choices=choices)
        contexts = parts.encode(values.get("prompt"), values.get("negative_prompt"), choices.prompt_join)
        return StarI2VGenPipeline(
            self.name,
            parts.network,
            TemporalVaeCodec(parts.vae, decode_dtype=half, **groups),
            contexts,
            sampling,
            traits=self.traits_for(values),
            autocast=half if values.get("exact") else None,
            attention=values.get("attention", "auto"),
            compile=self._compiled,
            device=self.device,
        )

    def pipeline_for(self, settings: JobSettings) -> StarI2VGenPipeline:
        """Return the pipeline of a job; see `pipeline`."""
        return self.pipeline(settings.values)

    def plan(self, wanted: PlanInput, settings: JobSettings) -> ChunkPlan:
        """Choose segments, tiles and the place of the weights for a job."""
        return self.pipeline_for(settings).plan(wanted)


def _choices(values: Mapping[str, Any]) -> ReferenceQuirks:
    return ReferenceQuirks.of(bool(values.get("exact")), **{name: values.get(name) for name in QUIRKS})
