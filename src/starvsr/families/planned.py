"""Jobs of a loaded model whose weights a memory plan places: several may be open, one at a time has the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor

from starvsr.engine.chunk_plan import ChunkPlan, ModelPlan
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.segments import Segment
from starvsr.engine.upscaler import JobSettings, Session, StepCallback
from starvsr.offload.manager import MemoryManager

if TYPE_CHECKING:
    from typing_extensions import Unpack


class PlannedPipeline(Protocol):
    """What enlarges clips for one job."""

    @property
    def memory(self) -> MemoryManager[Any]:
        """What places the weights."""
        ...

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the clips were made."""
        ...

    def work_by(self, plan: ChunkPlan) -> None:
        """Apply a plan that was made for the job."""
        ...

    def upscale_frames(self, lq: Tensor, keep: slice, **arguments: Unpack[ClipArguments]) -> Iterator[Tensor]:
        """Yield the kept frames of the enlarged clip."""
        ...


class Turns:
    """Which pipeline of a loaded model has its plan applied to the networks."""

    def __init__(self) -> None:
        self._working: PlannedPipeline | None = None

    def take(self, pipeline: PlannedPipeline) -> None:
        """Apply the memory plan of this pipeline to the networks."""
        if self._working is pipeline:
            return
        if self._working is not None:
            self._working.memory.end()
            plan = pipeline.memory.plan
            pipeline.memory.plan = None  # another plan is applied to the networks, so this one must be applied again
            if plan is not None:
                pipeline.memory.apply_plan(plan)
        self._working = pipeline

    def leave(self, pipeline: PlannedPipeline) -> None:
        """Return the weights that this pipeline has placed to the host's memory."""
        if self._working is pipeline:
            self._working = None
        pipeline.memory.end()


class PlannedSession:
    """One job: its pipeline, notes and smaller plans; see `starvsr.engine.upscaler.Session`."""

    def __init__(self, turns: Turns, pipeline: PlannedPipeline, settings: JobSettings) -> None:
        self.pipeline: Any = pipeline
        self.on_replan: Callable[[ModelPlan], None] | None = None
        self._turns, self._settings = turns, settings
        pipeline.memory.on_smaller_plan = self._replanned

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the clips were made."""
        notes: list[str] = self.pipeline.notes
        return notes

    def _replanned(self, plan: ModelPlan) -> None:
        if self.on_replan is not None:
            self.on_replan(plan)

    def upscale(
        self,
        lq: Tensor,
        keep: slice,
        *,
        segment: Segment,
        first_frame: int,
        on_step: StepCallback | None = None,
    ) -> Iterator[Tensor]:
        """Enlarge a clip; see `starvsr.engine.upscaler.Session`."""
        self._turns.take(self.pipeline)
        yield from self.pipeline.upscale_frames(
            lq,
            keep,
            seed=self._settings.seed,
            first_frame=first_frame,
            num_steps=self._settings.num_steps,
            on_step=on_step,
        )


class PlannedUpscaler:
    """Base of loaded models that read texts and plan memory: each job gets a pipeline of its own.

    A subclass has ``accepts``, ``traits_for``, ``pipeline_for`` and ``plan``.

    Args:
        name: Name in the registry.
        device: Where everything computes.
        loaded_with: Options given when it was loaded.

    Attributes:
        accepts: Options that a job may give.
    """

    accepts: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, *, device: str = "cpu", loaded_with: Mapping[str, Any] | None = None) -> None:
        self.name, self.device, self.loaded_with = name, device, loaded_with or {}
        self._turns = Turns()

    def with_defaults(self, values: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a job's options; those that it does not name are as the model was loaded."""
        return {**{name: value for name, value in self.loaded_with.items() if name in self.accepts}, **(values or {})}

    def pipeline_for(self, settings: JobSettings) -> PlannedPipeline:
        """Return the pipeline of a job.

        Raises:
            OptionError: The options contradict each other or cannot be honoured.
        """
        raise NotImplementedError

    @contextmanager
    def open(self, settings: JobSettings, plan: ChunkPlan | None = None) -> Iterator[Session]:
        """Begin a job; when the block ends, all weights are back in the host's memory."""
        pipeline = self.pipeline_for(settings)
        if plan is not None:
            pipeline.work_by(plan)
        try:
            yield PlannedSession(self._turns, pipeline, settings)
        finally:
            self._turns.leave(pipeline)
