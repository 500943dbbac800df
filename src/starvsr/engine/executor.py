"""Where segments are rendered: the protocol of executors, and the one that renders them here and now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from starvsr.engine.chunk_plan import ModelPlan
from starvsr.engine.progress import CancelToken
from starvsr.engine.render import U16Frames
from starvsr.engine.segment_task import SegmentTask
from starvsr.engine.upscaler import Session

OnProgress = Callable[[SegmentTask, float], None]
"""Called with a task that is under way and the share of it that is rendered, 0..1."""


class Executor(Protocol):
    """Renders the segments of a job, in this process or elsewhere.

    The job that calls it owns the input, the plan of segments and parts, the journal and the output. What another
    executor (a cluster, a server) must keep:

    - **Results do not depend on it.** It calls ``task.run(session)`` with a session of the model that
      ``task.render.model`` names, opened with ``task.render.settings`` and ``task.render.plan``, and hands out what
      that made. Weights with another digest than ``task.render.traits.digest`` are refused.
    - **Order.** Results come in the order of the tasks, each exactly once, whatever the order they are rendered in.
    - **Bounded memory.** Tasks are taken from the iterator only as they are needed: at most ``most_in_flight`` of them
      are taken and not yet handed out, and no reference to a result is kept once it is handed out. An iterator of tasks
      is used from one thread, that of the caller.
    - **Errors come out of** ``render``, or of the frames that it hands out, as they would here: `StarVsrError` and
      `MemoryError` as themselves. A worker that is lost is a `WorkerError`, or its task is rendered again elsewhere; a
      segment is never left out.
    - **Cancellation.** ``cancel`` is looked at at least every half second; either then raises `Cancelled`, and
      nothing of the job is being rendered when ``close`` returns. The same holds when the generator is closed early.
    - **Smaller plans.** ``on_replan`` is called in the caller's thread when a session continues with a smaller plan.
    """

    on_replan: Callable[[ModelPlan], None] | None
    """Called when a model continues with a smaller memory plan."""

    @property
    def most_in_flight(self) -> int:
        """Most tasks that are taken and whose results are not handed out yet."""
        ...

    @property
    def notes(self) -> list[str]:
        """Sentences that the user should read on how segments were rendered, each once."""
        ...

    @property
    def peak_memory(self) -> int:
        """Largest resident memory of other processes of this executor, added up, in bytes."""
        ...

    def render(
        self, tasks: Iterable[SegmentTask], cancel: CancelToken, on_progress: OnProgress
    ) -> Iterator[tuple[SegmentTask, Iterator[U16Frames]]]:
        """Render tasks; see the class for what holds.

        Args:
            tasks: Segments of one job, in order.
            cancel: Looked at often.
            on_progress: Called often, in the caller's thread.

        Yields:
            Each task with an iterator of its enlarged frames, each uint16 [scale * H, scale * W, 3]. All of them are
            taken before the next task is asked for.
        """
        ...

    def close(self) -> None:
        """End all work and free what it took; harmless when closed."""
        ...


class LocalExecutor:
    """Renders one segment after the other in the caller's thread.

    Args:
        session: The model at work for the job.
        device: Where it computes.
    """

    most_in_flight = 1
    peak_memory = 0

    def __init__(self, session: Session, device: str = "cpu") -> None:
        self.on_replan: Callable[[ModelPlan], None] | None = None
        self._session, self._device = session, device
        session.on_replan = self._replanned

    @property
    def notes(self) -> list[str]:
        """Sentences of the session."""
        return list(self._session.notes)

    def render(
        self, tasks: Iterable[SegmentTask], cancel: CancelToken, on_progress: OnProgress
    ) -> Iterator[tuple[SegmentTask, Iterator[U16Frames]]]:
        """Render tasks; see `Executor`."""
        for task in tasks:
            yield task, self._rendered(task, cancel, on_progress)
            del task  # or its frames would be held while those of the next are read

    def close(self) -> None:
        """Nothing to end: the session is its opener's."""

    def _rendered(self, task: SegmentTask, cancel: CancelToken, on_progress: OnProgress) -> Iterator[U16Frames]:
        def on_fraction(share: float) -> None:
            cancel.raise_if_cancelled()
            on_progress(task, share)

        return task.run(self._session, self._device, on_fraction)

    def _replanned(self, plan: ModelPlan) -> None:
        if self.on_replan is not None:
            self.on_replan(plan)
