"""Adapters to the contract of `starvsr.engine.upscaler` for models that keep nothing from clip to clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from starvsr.engine.chunk_plan import ChunkPlan, ModelPlan, PlanInput, plan_chunks
from starvsr.engine.segments import Segment
from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings, Session, StepCallback
from starvsr.errors import StarVsrError

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack


class ClipArguments(TypedDict, total=False):
    """What a model is given beside a clip; a model that draws no noise has no use for most of it.

    Args:
        seed: Seed of the noise; with ``first_frame`` it fixes the noise of every frame; 0 if left out.
        first_frame: Index of the first frame in the whole video; 0 if left out.
        num_steps: Sampling steps; the model's own number if left out.
        on_step: Called after each step.
    """

    seed: int
    first_frame: int
    num_steps: int
    on_step: StepCallback | None


class ClipUpscaler:
    """Base of models that enlarge one clip at a time; a subclass has at least ``name``, ``scale``, ``upscale_clip``."""

    name: str
    scale: int
    traits: Traits = Traits()
    device: str = "cpu"
    loaded_with: Mapping[str, Any] = MappingProxyType({})

    def upscale_clip(self, lq: torch.Tensor, **arguments: Unpack[ClipArguments]) -> torch.Tensor:
        """Enlarge a clip.

        Args:
            lq: [1, 3, T, H, W] float32 in [-1, 1]; T is one of ``traits.lengths``.
            arguments: Seed, steps, place in the video.

        Returns:
            [1, 3, T, scale * H, scale * W] float32, about [-1, 1].
        """
        raise NotImplementedError

    def upscale_frames(
        self, lq: torch.Tensor, keep: slice, **arguments: Unpack[ClipArguments]
    ) -> Iterator[torch.Tensor]:
        """Yield the frames of ``upscale_clip`` that ``keep`` selects, each float32 [3, scale * H, scale * W]."""
        hq = self.upscale_clip(lq, **arguments)
        if hq.shape[:3] != lq.shape[:3]:
            raise wrong_size(self.name, tuple(hq.shape), tuple(lq.shape[:3]))
        yield from hq[0, :, keep].unbind(1)

    def traits_for(self, values: Mapping[str, Any]) -> Traits:
        """Return the traits; no option changes them."""
        return dataclasses.replace(self.traits, scales=(self.scale,))

    def plan(self, wanted: PlanInput, settings: JobSettings) -> ChunkPlan:
        """Choose segments and tiles for a job."""
        return plan_chunks(wanted.sizes, self.traits_for(settings.values), wanted.options)

    @contextmanager
    def open(self, settings: JobSettings, plan: ChunkPlan | None = None) -> Iterator[Session]:
        """Begin a job."""
        yield ClipSession(self, settings)


class ClipSession:
    """A job of a `ClipUpscaler`: nothing but its settings."""

    def __init__(self, upscaler: ClipUpscaler, settings: JobSettings) -> None:
        self.notes: list[str] = []
        self.on_replan: Callable[[ModelPlan], None] | None = None
        self._upscaler, self._settings = upscaler, settings

    def upscale(
        self,
        lq: torch.Tensor,
        keep: slice,
        *,
        segment: Segment,
        first_frame: int,
        on_step: StepCallback | None = None,
    ) -> Iterator[torch.Tensor]:
        """Enlarge a clip; see ``Session``."""
        settings = self._settings
        return self._upscaler.upscale_frames(
            lq, keep, seed=settings.seed, first_frame=first_frame, num_steps=settings.num_steps, on_step=on_step
        )


class FunctionUpscaler(ClipUpscaler):
    """A function from clip to clip as a model: ``FunctionUpscaler("mine", 2, function)``.

    Args:
        name: Name of the model, for progress and provenance.
        scale: Output pixels per input pixel along each side.
        function: [1, 3, T, H, W] float32 in [-1, 1] -> [1, 3, T, scale * H, scale * W], the same for the same clip.
        traits: Context, memory, lengths; the defaults suit a convolutional network of middling size.
        device: Where clips are handed to it.
    """

    def __init__(
        self,
        name: str,
        scale: int,
        function: Callable[[torch.Tensor], torch.Tensor],
        traits: Traits | None = None,
        device: str = "cpu",
    ) -> None:
        self.name, self.scale, self.function, self.device = name, scale, function, device
        self.traits = traits or Traits(accepts=frozenset())

    def upscale_clip(self, lq: torch.Tensor, **_: Unpack[ClipArguments]) -> torch.Tensor:
        """Call the function; nothing but the clip changes the result."""
        return self.function(lq)


def wrong_size(name: str, made: tuple[int, ...], wanted: tuple[int, ...]) -> StarVsrError:
    """Return the error for a model that gives clips of another size than its traits say."""
    return StarVsrError(f"model {name} made {made} where {wanted} is wanted: please report it")
