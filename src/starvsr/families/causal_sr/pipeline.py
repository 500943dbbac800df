"""causal-sr behind the contract of models: frame after frame, with the state of the frames before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from starvsr.engine.allocator import keep_freed_memory
from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.clip_upscaler import ClipArguments, ClipSession, ClipUpscaler
from starvsr.engine.segments import Segment
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings, Session, StepCallback
from starvsr.errors import OptionError, WeightsError
from starvsr.families.causal_sr.carried import CarriedStates
from starvsr.families.causal_sr.settings import CausalSRSettings
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.precision import choose_dtype
from starvsr.families.settings import load_names
from starvsr.models.causal_sr import CausalSR
from starvsr.models.weight_ends import between_ends, has_ends
from starvsr.models.weights import digest, read_tensors, with_stored_sizes
from starvsr.models.weights.assign import check_fit

if TYPE_CHECKING:
    from typing_extensions import Unpack

BYTES_PER_PIXEL = 13
"""Of a clip: its frames in float32."""
BYTES_PER_TILE_PIXEL = 600
"""Of the one frame at work, beside the trunk's features: the result in float32 twice and in 16 bits, the state."""
TRUNK_MAPS = 1.5
"""Features per input pixel and channel of the trunk: those of six half-resolution maps."""
STRIP_PX, STRIP_BYTES = 1 << 15, 64 << 20
"""Input pixels that the head works on at once, and what it takes for them."""
LONGEST_SEGMENT = 8
"""Frames; longer ones would save nothing where a session goes on from segment to segment, and hold more."""


class CausalPipeline(ClipUpscaler):
    """Enlarges clips with a `CausalSR`.

    A segment that begins with the network's memory as context gives what the whole clip would, bit for bit; frames
    after the kept ones play no part and are not computed. A job's session carries the network's state from segment to
    segment, so that this context is computed only where the segment before it was not.
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
        self.network.strip_px = STRIP_PX
        self.traits = Traits(
            accepts=frozenset(),
            loads=load_names(CausalSRSettings) - (frozenset() if takes_detail else {"detail"}),
            overlap=network.config.memory,
            overlap_after=0,
            carries=True,
            tile_overlap=network.config.reach,
            segment=LONGEST_SEGMENT,
            fixed_bytes=dtype.itemsize * sum(parameter.numel() for parameter in network.parameters()) + STRIP_BYTES,
            bytes_per_pixel=BYTES_PER_PIXEL,
            bytes_per_tile_pixel=BYTES_PER_TILE_PIXEL + int(TRUNK_MAPS * dtype.itemsize * network.config.width),
            digest=digest,
        )

    def upscale_clip(self, lq: Tensor, **arguments: Unpack[ClipArguments]) -> Tensor:
        """Enlarge [1, 3, T, H, W] in [-1, 1] to [1, 3, T, 4H, 4W]; see `ClipUpscaler`. Draws no noise."""
        return torch.stack(list(self.upscale_frames(lq, slice(None), **arguments)), 1)[None]

    def upscale_frames(self, lq: Tensor, keep: slice, **_: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the enlarged frames that are kept; holds no more than one at a time."""
        return self.carried_on(lq, keep, CarriedStates(self.network.config.memory), 0)

    @torch.inference_mode()
    def carried_on(self, lq: Tensor, keep: slice, carried: CarriedStates, turn: int) -> Iterator[Tensor]:
        """Yield the enlarged frames that are kept, from where an earlier clip ended if this one goes on there.

        Args:
            lq: [1, 3, T, H, W] in [-1, 1].
            keep: The frames wanted.
            carried: States at the ends of earlier clips; that of this one is added.
            turn: Number of the segment.
        """
        kept = range(lq.shape[2])[keep]
        frames = lq.unbind(2)
        begin = max(kept.start - self.network.config.memory, 0)
        state = carried.take(frames[begin : kept.start])
        if state is None:
            for frame in frames[begin : kept.start]:
                state = self.network.advance(frame.to(self.device), state)
        for index in kept:
            made, state = self.network.step(frames[index].to(self.device), state)
            if index == kept.stop - 1:
                carried.keep(frames[kept.start : kept.stop], state, turn)
            result = [made[0].clamp_(-1, 1)]
            del made
            yield result.pop()  # not held here while the next one is made

    @contextmanager
    def open(self, settings: JobSettings, plan: ChunkPlan | None = None) -> Iterator[Session]:
        """Begin a job."""
        yield CausalSession(self, settings)


class CausalSession(ClipSession):
    """A job of a `CausalPipeline`: what is carried from segment to segment."""

    def __init__(self, pipeline: CausalPipeline, settings: JobSettings) -> None:
        super().__init__(pipeline, settings)
        self._pipeline, self._carried = pipeline, CarriedStates(pipeline.network.config.memory)

    def upscale(
        self,
        lq: Tensor,
        keep: slice,
        *,
        segment: Segment,
        first_frame: int,
        on_step: StepCallback | None = None,
    ) -> Iterator[Tensor]:
        """Enlarge a clip; see ``Session``."""
        return self._pipeline.carried_on(lq, keep, self._carried, segment.index)


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
    network = CausalSR(with_stored_sizes(spec.network, path))
    stored = read_tensors(path)
    both_ends = has_ends(stored)
    tensors = between_ends(stored, spec.detail if detail is None else detail) if both_ends else stored
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


def chosen_tensors(path: Path, detail: float | None, default: float) -> dict[str, Tensor]:
    """Read weights, those with two ends at the place between them that ``detail`` (else ``default``) names.

    Raises:
        OptionError: A detail for weights with one end only.
        WeightsError: Missing or damaged weights.
    """
    tensors = read_tensors(path)
    if has_ends(tensors):
        return between_ends(tensors, default if detail is None else detail)
    if detail is not None:
        raise OptionError(f"{path} holds one end of a training, so --detail changes nothing: leave it out")
    return tensors
