"""The contract of a model: an `Upscaler` is loaded once and opens a `Session` for each job. Loads no torch.

What belongs to the loaded model: weights, device, precision, traits. What belongs to a job: settings such as seed,
steps, prompt; notes; smaller plans after out-of-memory errors. `starvsr.engine.clip_upscaler` adapts plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from starvsr.engine.chunk_plan import ChunkPlan, ModelPlan, PlanInput
from starvsr.engine.segments import Segment
from starvsr.engine.traits import Traits

if TYPE_CHECKING:
    import torch

StepCallback = Callable[[int, int], None]
"""Called as ``on_step(step, num_steps)`` after each sampling step."""


@dataclass(frozen=True)
class JobSettings:
    """What one job asks of a model.

    Args:
        scale: Enlargement by the network, one of ``Traits.scales``.
        num_steps: Sampling steps.
        seed: Seed of the noise; the same seed gives the same bytes.
        values: The other job options that the model honours, by name, as far as they were given.
    """

    scale: int = 4
    num_steps: int = 1
    seed: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelReference:
    """How a model is loaded once more, in another process. Can be pickled when ``load`` can.

    Args:
        name: Name of the model.
        load: Loads it; called as ``load(device=...)``.
        kind: Its class, as module and name: what is loaded elsewhere must be of the same.
    """

    name: str
    load: Callable[..., Upscaler]
    kind: str


class Session(Protocol):
    """One job's use of a model. Not thread-safe; sessions of one model may take turns."""

    on_replan: Callable[[ModelPlan], None] | None
    """Called when the model continues with a smaller plan after running out of memory."""

    @property
    def notes(self) -> list[str]:
        """Sentences that the user should read on how this job was made."""
        ...

    def upscale(
        self,
        lq: torch.Tensor,
        keep: slice,
        *,
        segment: Segment,
        first_frame: int,
        on_step: StepCallback | None = None,
    ) -> Iterator[torch.Tensor]:
        """Enlarge a clip; yield the frames of it that are kept.

        Args:
            lq: [1, 3, T, H, W] float32 in [-1, 1] on the model's device; T is one of ``Traits.lengths``.
            keep: The frames wanted.
            segment: Where in its shot the clip lies.
            first_frame: Index of the first frame in the whole video; with the seed it fixes the noise of each frame.
            on_step: Called after each sampling step.

        Yields:
            float32 [3, scale * H, scale * W], about [-1, 1].
        """
        ...


class Upscaler(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def device(self) -> str:
        """Where it computes."""
        ...

    @property
    def loaded_with(self) -> Mapping[str, Any]:
        """Options given when it was loaded, by name.

        Those of ``Traits.loads`` hold for every job; the others are the defaults of its jobs.
        """
        ...

    def traits_for(self, values: Mapping[str, Any]) -> Traits:
        """Return the traits with these job options.

        Raises:
            OptionError: The options contradict each other or cannot be honoured.
        """
        ...

    def plan(self, wanted: PlanInput, settings: JobSettings) -> ChunkPlan:
        """Choose segments and tiles for a job.

        Raises:
            ResourceError: Nothing fits the memory that the user named.
            OptionError: A setting cannot be honoured.
        """
        ...

    def open(self, settings: JobSettings, plan: ChunkPlan | None = None) -> AbstractContextManager[Session]:
        """Begin a job; None as plan lets a model that plans its own memory choose for each clip."""
        ...


def kind_of(upscaler: Upscaler) -> str:
    """Return the class of a model, as module and name."""
    return f"{type(upscaler).__module__}.{type(upscaler).__qualname__}"
