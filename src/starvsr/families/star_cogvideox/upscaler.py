"""A loaded STAR on CogVideoX behind the contract of models; each job gets a pipeline with its texts and its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.engine.chunk_plan import ChunkPlan, PlanInput
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.traits import ClipLengths, Traits
from starvsr.engine.upscaler import JobSettings
from starvsr.errors import OptionError
from starvsr.families.planned import PlannedUpscaler
from starvsr.families.settings import job_names, load_names
from starvsr.families.star_cogvideox.guidance import GUIDANCE, GuidanceCurve
from starvsr.families.star_cogvideox.pipeline import WINDOW_FRAMES, Sampling, StarCogVideoXPipeline
from starvsr.families.star_cogvideox.schedule import NUM_STEPS
from starvsr.families.star_cogvideox.settings import StarCogVideoXSettings
from starvsr.families.star_cogvideox.tiles import FRAMES_PER_LATENT
from starvsr.models.cogvideox.text import unconditional
from starvsr.models.cogvideox.transformer import StarCogVideoX
from starvsr.models.int8 import weight_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

SCALES = 1, 2, 3, 4
SEGMENT, OVERLAP, OVERLAP_AFTER, CROSSFADE = 32, 8, 5, 4
"""32 frames and their context are 12 latent frames: two windows. What precedes a segment hides that its first latent
frame stands for one frame; with a multiple of four the others stand for the same frames in every segment of a shot."""
ACCEPTED, LOADS = job_names(StarCogVideoXSettings), load_names(StarCogVideoXSettings)
EncodeText = Callable[[str], Tensor]
"""Prompt -> its encoding, [1, L, C]."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a loaded model is made of.

    Args:
        transformer: The transformer.
        vae: AutoencoderKLCogVideoX.
        encode: Encodes prompts.
        digest: SHA-256 of the transformer's weights.
    """

    transformer: StarCogVideoX
    vae: Any
    encode: EncodeText
    digest: str | None = None


class StarCogVideoXUpscaler(PlannedUpscaler):
    """A loaded model.

    Args:
        name: Name in the registry.
        parts: Networks and the encoding of prompts.
        device: Where everything computes.
        loaded_with: Options given when it was loaded.

    Attributes:
        scale: Largest enlargement.
    """

    scale = SCALES[-1]
    accepts = ACCEPTED

    def __init__(
        self, name: str, parts: Parts, *, device: str = "cpu", loaded_with: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(name, device=device, loaded_with=loaded_with)
        self._parts = parts
        self._fixed_bytes = weight_bytes(parts.transformer) + weight_bytes(parts.vae)

    def traits_for(self, values: Mapping[str, Any]) -> Traits:
        """Return the traits with these job options; the released choices see the whole clip."""
        exact = bool(values.get("exact"))
        return Traits(
            scales=SCALES,
            accepts=ACCEPTED,
            loads=LOADS,
            lengths=ClipLengths(FRAMES_PER_LATENT, 1, whole=exact),
            overlap=OVERLAP,
            overlap_after=OVERLAP_AFTER,
            crossfade=CROSSFADE,
            tiling="family",
            segment=SEGMENT,
            num_steps=NUM_STEPS,
            color="none" if exact else "adain",
            write_behind=SEGMENT,
            fixed_bytes=self._fixed_bytes,
            digest=self._parts.digest,
        )

    def pipeline(self, values: Mapping[str, Any] | None = None, scale: int = SCALES[-1]) -> StarCogVideoXPipeline:
        """Return a pipeline with these job options, which replace those that the model was loaded with.

        Raises:
            OptionError: The options contradict each other, or a prompt is too long.
        """
        values = self.with_defaults(values)
        return StarCogVideoXPipeline(
            self.name,
            self._parts.transformer,
            self._parts.vae,
            sampling_of(values, self._parts.encode),
            scale=scale,
            traits=self.traits_for(values),
            device=self.device,
        )

    def pipeline_for(self, settings: JobSettings) -> StarCogVideoXPipeline:
        """Return the pipeline of a job; see `pipeline`."""
        return self.pipeline(settings.values, settings.scale)

    def plan(self, wanted: PlanInput, settings: JobSettings) -> ChunkPlan:
        """Choose segments, tiles and the place of the weights for a job.

        Raises:
            OptionError: The options contradict each other.
            ResourceError: Nothing fits the memory that the user named.
        """
        return self.pipeline_for(settings).plan(wanted)

    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1], T = 4k + 1, four times, with the options that it was loaded with."""
        pipeline = self.pipeline()
        try:
            self._turns.take(pipeline)
            return torch.stack(list(pipeline.upscale_frames(lq, slice(None), **arguments)), 1)[None]
        finally:
            self._turns.leave(pipeline)


def sampling_of(values: Mapping[str, Any], encode: EncodeText) -> Sampling:
    """Return how a job with these options samples.

    Args:
        values: The job's options by name.
        encode: Encodes prompts.

    Raises:
        OptionError: The options contradict each other, or a prompt is too long.
    """
    guidance = GuidanceCurve(values.get("guidance", GUIDANCE), values.get("guidance_curve", "released"))
    negative = values.get("negative_prompt")
    for flag in ("guidance_curve", "negative_prompt"):
        if guidance.largest == 1 and flag in values:
            name = flag.replace("_", "-")
            raise OptionError(f"--{name} has no use with --guidance 1: leave out one of the two")
    window, exact = values.get("window", WINDOW_FRAMES), bool(values.get("exact"))
    if exact and "window" in values:
        raise OptionError("--window has no use with --exact, which takes the whole clip: leave out one of the two")
    if window % FRAMES_PER_LATENT != 1:
        below = max(1, window - (window - 1) % FRAMES_PER_LATENT)
        raise OptionError(
            f"--window {window} is no multiple of {FRAMES_PER_LATENT} plus 1, as the autoencoder needs: give {below} "
            f"or {below + FRAMES_PER_LATENT}"
        )
    prompt = encode(values.get("prompt") or "")
    other = unconditional(prompt) if negative is None else encode(negative)
    return Sampling(prompt, other, guidance, window, exact)
