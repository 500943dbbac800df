"""Jobs of a loaded model whose weights a memory plan places: several may be open, one at a time has the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from starvsr.engine.chunk_plan import ModelPlan
from starvsr.engine.clip_upscaler import ClipArguments
from starvsr.engine.segments import Segment
from starvsr.engine.upscaler import JobSettings, StepCallback
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
