"""causal-sr behind the contract of models: frame after frame, with the state of the frames before."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.engine.allocator import keep_freed_memory
from starvsr.engine.clip_upscaler import ClipArguments, ClipUpscaler
from starvsr.engine.traits import Traits
from starvsr.errors import OptionError, WeightsError
from starvsr.families.causal_sr.settings import CausalSRSettings
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.precision import choose_dtype
from starvsr.families.settings import load_names
from starvsr.models.causal_sr import CausalSR, State
from starvsr.models.causal_sr_config import CausalSRConfig
from starvsr.models.weight_ends import DEFAULT_DETAIL, between_ends, has_ends
from starvsr.models.weights import digest, read_metadata, read_tensors
from starvsr.models.weights.assign import check_fit

if TYPE_CHECKING:
    from typing_extensions import Unpack

BYTES_PER_PIXEL, BYTES_PER_TILE_PIXEL = 40, 3000
"""Measured: one frame is computed at a time."""


class CausalPipeline(ClipUpscaler):
    """Enlarges clips with a `CausalSR`.

    A segment that begins with the network's memory as context gives what the whole clip would, bit for bit; frames
    after the kept ones play no part and are not computed.
    """

    def __init__(
        self,
        spec: CausalSRSpec,
        network: CausalSR,
        *,
        digest: str | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        loaded_with: Mapping[str, Any] | None = None,
        takes_detail: bool = False,
    ) -> None:
        """Put the parts together; `load` makes them by name.

        Args:
            spec: The entry.
            network: The network, with its weights.
            digest: SHA-256 of the file of weights.
            device: Where the network computes.
            dtype: Number type of the network.
            loaded_with: Options that it was loaded with.
            takes_detail: Whether the weights hold two ends, so that ``detail`` is done by them.
        """
        self.name, self.scale, self.device = spec.name, spec.scale, device
        self.loaded_with = loaded_with or {}
        network = network.eval().requires_grad_(False).to(device, dtype)
        self.network: CausalSR = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.traits = Traits(
            accepts=frozenset(),
            loads=load_names(CausalSRSettings) - (frozenset() if takes_detail else {"detail"}),
            overlap=network.config.memory,
            overlap_after=0,
            tile_overlap=network.config.reach,
            segment=96,
            fixed_bytes=dtype.itemsize * sum(parameter.numel() for parameter in network.parameters()),
            bytes_per_pixel=BYTES_PER_PIXEL,
            bytes_per_tile_pixel=BYTES_PER_TILE_PIXEL,
            digest=digest,
        )

    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]; see `ClipUpscaler`. Draws no noise."""
        return torch.stack(list(self.upscale_frames(lq, slice(None), **arguments)), 1)[None]

    @torch.inference_mode()
    def upscale_frames(self, lq: Tensor, keep: slice, **_: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the enlarged frames that are kept; holds no more than one at a time."""
        kept = range(lq.shape[2])[keep]
        state: State | None = None
        for index in range(max(kept.start - self.network.config.memory, 0), kept.stop):
            frame = lq[:, :, index].to(self.device)
            if index in kept:
                made, state = self.network.step(frame, state)
                yield made[0].clamp_(-1, 1)
            else:
                state = self.network.advance(frame, state)


def load(
    spec: CausalSRSpec,
    *,
    device: str = "cpu",
    weights: Path | str | None = None,
    precision: str | None = None,
    detail: float | None = None,
) -> CausalPipeline:
    """Load the model for the registry.

    Args:
        spec: The entry.
        device: Where the network computes.
        weights: What ``starvsr export`` wrote; its metadata have the sizes that differ from the entry's.
        precision: "fp32", "fp16", "bf16", or "auto" (None) for what is fast and safe on the device.
        detail: Place between the two ends that the weights hold, 0 faithful to 1 vivid; None is halfway. With one end
            only it is the default of jobs, done when frames are finished.

    Raises:
        OptionError: A precision that the device has not.
        WeightsError: No weights were given, or they are damaged or of another network.
    """
    if weights is None:
        raise WeightsError(
            f"{spec.name} comes without weights: train it (recipes/{spec.name}.toml), give --weights FILE"
        )
    path = Path(weights)
    network = CausalSR(stored_config(spec.network, path))
    stored = read_tensors(path)
    both_ends = has_ends(stored)
    tensors = between_ends(stored, DEFAULT_DETAIL if detail is None else detail) if both_ends else stored
    check_fit(network.state_dict(), tensors, path)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    if device == "cpu":
        keep_freed_memory()
    given = {"weights": weights, "precision": precision, "detail": detail}
    return CausalPipeline(
        spec,
        network,
        digest=digest(path),
        device=device,
        dtype=choose_dtype(precision or "auto", device),
        loaded_with={name: value for name, value in given.items() if value is not None},
        takes_detail=both_ends,
    )


def chosen_tensors(path: Path, detail: float | None) -> dict[str, Tensor]:
    """Read weights, those with two ends at the place between them that ``detail`` names.

    Raises:
        OptionError: A detail for weights with one end only.
        WeightsError: Missing or damaged weights.
    """
    tensors = read_tensors(path)
    if has_ends(tensors):
        return between_ends(tensors, DEFAULT_DETAIL if detail is None else detail)
    if detail is not None:
        raise OptionError(f"{path} holds one end of a training, so --detail changes nothing: leave it out")
    return tensors


def stored_config(base: CausalSRConfig, path: Path) -> CausalSRConfig:
    """Return the network's sizes: those in the metadata of a file of weights, else those of ``base``.

    Raises:
        WeightsError: The file is missing or damaged, or its sizes make no sense.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give the path of a .safetensors file of `starvsr export`")
    try:
        return dataclasses.replace(base, **json.loads(read_metadata(path).get("network", "{}")))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} names sizes that causal-sr does not have ({error}): export it again") from error
