"""causal-sr behind the contract of models: frame after frame, with the state of the frames before."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.engine.allocator import keep_freed_memory
from starvsr.engine.clip_upscaler import ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import StepCallback
from starvsr.errors import WeightsError
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.precision import choose_dtype
from starvsr.models.causal_sr import CausalSR
from starvsr.models.causal_sr_config import CausalSRConfig
from starvsr.models.weights import digest, load_weights, read_metadata

TILE_OVERLAP = 40
"""Input pixels: 18 convolutions at half the input's resolution reach 36, the head a few more."""
BYTES_PER_PIXEL, BYTES_PER_TILE_PIXEL = 580, 2000
"""Upper bounds, those of star-small: one frame is computed at a time."""


class CausalPipeline(ClipUpscaler):
    """Enlarges clips with a `CausalSR`; a segment is preceded by as many frames as the network looks back."""

    def __init__(
        self,
        spec: CausalSRSpec,
        network: CausalSR,
        *,
        digest: str | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loaded_with: Mapping[str, Any] | None = None,
    ) -> None:
        """Put the parts together; `load` makes them by name."""
        self.name, self.scale, self.device = spec.name, spec.scale, device
        self.loaded_with = loaded_with or {}
        network = network.eval().requires_grad_(False).to(device, dtype)
        self.network: CausalSR = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.traits = Traits(
            accepts=frozenset(),
            loads=frozenset({"weights", "precision"}),
            overlap=network.config.memory,
            overlap_after=0,
            tile_overlap=TILE_OVERLAP,
            segment=24,
            fixed_bytes=dtype.itemsize * sum(parameter.numel() for parameter in network.parameters()),
            bytes_per_pixel=BYTES_PER_PIXEL,
            bytes_per_tile_pixel=BYTES_PER_TILE_PIXEL,
            digest=digest,
        )

    def upscale_clip(
        self,
        lq: Tensor,
        *,
        seed: int = 0,
        first_frame: int = 0,
        num_steps: int = 1,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]; see `ClipUpscaler`. Draws no noise."""
        return torch.stack(list(self.upscale_frames(lq, slice(None))), 1)[None]

    @torch.inference_mode()
    def upscale_frames(
        self,
        lq: Tensor,
        keep: slice,
        *,
        seed: int = 0,
        first_frame: int = 0,
        num_steps: int = 1,
        on_step: StepCallback | None = None,
    ) -> Iterator[Tensor]:
        """Yield the enlarged frames that are kept; holds no more than one at a time."""
        first, stop, _ = keep.indices(lq.shape[2])
        state = None
        for index in range(stop):
            hq, state = self.network.step(lq[:, :, index].to(self.device), state)
            if index >= first:
                yield hq[0].clamp_(-1, 1)


def load(
    spec: CausalSRSpec, *, device: str = "cpu", weights: Path | None = None, precision: str | None = None
) -> CausalPipeline:
    """Load the model for the registry.

    Args:
        spec: The entry.
        device: Where the network computes.
        weights: What ``starvsr export`` wrote; its metadata hold the sizes that differ from the entry's.
        precision: "fp32", "fp16", "bf16", or "auto" (None) for what is fast and safe on the device.

    Raises:
        OptionError: A precision that the device has not.
        WeightsError: No weights were given, or they are damaged or of another network.
    """
    if weights is None:
        raise WeightsError(
            f"{spec.name} comes without weights: give --weights with a file that `starvsr train` and `starvsr export` "
            "made"
        )
    network = CausalSR(_sizes_of(weights, spec.network))
    load_weights(network, weights)
    if device == "cpu":
        keep_freed_memory()
    given = {"weights": weights, "precision": precision}
    return CausalPipeline(
        spec,
        network,
        digest=digest(weights),
        device=device,
        dtype=choose_dtype(precision or "auto", device),
        loaded_with={name: value for name, value in given.items() if value is not None},
    )


def _sizes_of(weights: Path, base: CausalSRConfig) -> CausalSRConfig:
    try:
        return dataclasses.replace(base, **json.loads(read_metadata(weights).get("network", "{}")))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{weights}: its sizes are not those of a causal-sr network ({error})") from None
