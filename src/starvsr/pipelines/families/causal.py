"""CausalSR behind the face of a model: frame after frame, with nothing computed that is not kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import OptionError, WeightsError
from starvsr.models.causal_sr import CausalSR, CausalSRConfig, State
from starvsr.models.registry import CAUSAL, CausalSpec
from starvsr.models.weight_ends import DEFAULT_DETAIL, between_ends, has_ends
from starvsr.models.weights import digest, read_metadata, read_tensors
from starvsr.models.weights.fitting import check_fit
from starvsr.pipelines.families.precision import choose_dtype
from starvsr.pipelines.upscaler import ModelTraits, StepCallback

_TILE_OVERLAP = 40
"""Input pixels that a result depends on to each side, nearly: 18 convolutions at half resolution and what follows."""
_BYTES_PER_PIXEL = 40
_BYTES_PER_TILE_PIXEL = 3000


class CausalPipeline:
    """Enlarges clips with a :class:`CausalSR`.

    A segment that begins with the network's memory as context gives what the whole clip would, bit for bit; frames
    after the kept ones play no part and are not computed.
    """

    def __init__(
        self,
        spec: CausalSpec,
        network: CausalSR,
        traits: ModelTraits,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Put the parts together; :meth:`load` makes them by name."""
        self.name, self.scale, self.traits = spec.name, spec.scale, traits
        self.device, network = device, network.eval().requires_grad_(False)
        self.network = network.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(
        cls,
        name: str,
        *,
        weights: Path | str,
        device: str = "cpu",
        precision: str = "auto",
        detail: float | None = None,
    ) -> CausalPipeline:
        """Build a network of the registry.

        Args:
            name: name in the registry.
            weights: safetensors file of a training run; it tells the sizes of its network.
            device: where the network computes.
            precision: "fp32", "fp16", "bf16", or "auto" for what is fast and safe on the device.
            detail: place between the two ends that the weights hold, 0 faithful to 1 vivid; None is halfway.

        Raises:
            OptionError: a precision that the device has not, or a detail for weights with one end only.
            WeightsError: weights missing, damaged or of another model.
        """
        spec, path = CAUSAL[name], Path(weights)
        network = CausalSR(stored_config(spec.network, path))
        tensors = chosen_tensors(path, detail)
        check_fit(network.state_dict(), tensors, path)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        dtype = choose_dtype(precision, device)
        traits = ModelTraits(
            accepts=frozenset({"weights", "precision", "detail"}),
            overlap=network.config.memory,
            crossfade=0,
            tile_overlap=_TILE_OVERLAP,
            segment=96,
            fixed_bytes=dtype.itemsize * sum(parameter.numel() for parameter in network.parameters()),
            bytes_per_pixel=_BYTES_PER_PIXEL,
            bytes_per_tile_pixel=_BYTES_PER_TILE_PIXEL,
            noiseless_steps=1,
            digest=digest(path),
        )
        return cls(spec, network, traits, device=device, dtype=dtype)

    @torch.inference_mode()
    def upscale_clip(
        self,
        lq: Tensor,
        *,
        seed: int = 0,
        first_frame: int = 0,
        num_steps: int = 1,
        on_step: StepCallback | None = None,
    ) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, scale*H, scale*W]; see ``ClipUpscaler``."""
        return torch.stack([frame.clamp_(-1, 1) for frame in self.upscale_frames(lq, slice(None))], 1)[None]

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
        """Yield the enlarged frames that are kept, [3, scale*H, scale*W] each; see ``FrameUpscaler``."""
        kept = range(lq.shape[2])[keep]
        state: State | None = None
        for index in range(max(kept.start - self.network.config.memory, 0), kept.stop):
            frame = lq[:, :, index].to(self.device)
            if index in kept:
                made, state = self.network.step(frame, state)
                yield made[0].to(lq.device)
            else:
                state = self.network.advance(frame, state)


def chosen_tensors(path: Path, detail: float | None) -> dict[str, Tensor]:
    """Read weights, those with two ends at the place between them that ``detail`` names.

    Raises:
        OptionError: a detail for weights with one end only.
        WeightsError: missing or damaged weights.
    """
    tensors = read_tensors(path)
    if has_ends(tensors):
        return between_ends(tensors, DEFAULT_DETAIL if detail is None else detail)
    if detail is not None:
        raise OptionError(f"{path} holds one end of a training, so --detail changes nothing: leave it out")
    return tensors


def stored_config(base: CausalSRConfig, path: Path) -> CausalSRConfig:
    """Return the sizes that a file of weights tells, ``base`` where it tells none.

    Raises:
        WeightsError: the file is missing or damaged, or its sizes make no sense.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give the path of a .safetensors file of `starvsr export`")
    try:
        return CausalSRConfig(**{**vars(base), **json.loads(read_metadata(path).get("network", "{}"))})
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} tells sizes that causal-sr has not ({error}): export it again") from error
