"""Renders segments in processes of their own, side by side: one for each device, or several on the processor."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np

from starvsr.engine.chunk_plan import ModelPlan
from starvsr.engine.executor import OnProgress
from starvsr.engine.progress import CancelToken
from starvsr.engine.render import U16Frames
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.worker import ERROR, PROGRESS, REPLAN, RESULT, work
from starvsr.errors import WorkerError

_PATIENCE = 0.1  # seconds between looks at the cancellation flag
_END_SECONDS = 5.0  # that a process is given to end before it is killed


class RemoteTraceback(Exception):
    """Where an error arose in another process; the cause of the error as it comes out here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(eq=False)
class _Worker:
    """A process, the connection to it, and the task that it renders."""

    process: SpawnProcess
    connection: Connection
    device: str
    task: SegmentTask | None = None
    render: RenderSettings | None = None  # those that the process has
    place: int = 0
    peak_memory: int = 0


@dataclass
class _UnderWay:
    """The state of one call of ``render``."""

    tasks: Iterator[SegmentTask]
    on_progress: OnProgress
    waiting: SegmentTask | None = None  # taken from the iterator, not with a worker yet
    num_taken: int = 0
    is_exhausted: bool = False
    done: dict[int, tuple[SegmentTask, U16Frames]] = field(
        default_factory=dict
    )  # that one before them is not ready for


class ProcessExecutor:
    """Renders segments in other processes; see `starvsr.engine.executor.Executor` for what holds.

    Processes are started (spawned) with the first task, load the model once and serve until ``close``. One more task
    than there are processes is under way, so memory stays flat: each process holds one segment, and this one at most as
    many enlarged segments as there are processes. In a script, call what uses it under ``if __name__ == "__main__":``,
    because processes that are spawned import the main module.

    Args:
        devices: Device of each process, e.g. ``("cuda:0", "cuda:1")`` or ``("cpu", "cpu")``.
        threads: Processor threads that the network may use in each process; None: as many as the system allows.
    """

    def __init__(self, devices: Sequence[str], threads: int | None = None) -> None:
        if not devices:
            raise ValueError("one device at least is needed")
        self.on_replan: Callable[[ModelPlan], None] | None = None
        self._devices, self._threads = tuple(devices), threads
        self._workers: list[_Worker] = []
        self._notes: dict[str, None] = {}
        self._peaks: dict[int, int] = {}

    @property
    def most_in_flight(self) -> int:
        """Most tasks that are taken and whose results are not handed out yet."""
        return len(self._devices) + 1

    @property
    def notes(self) -> list[str]:
        """Sentences of the sessions, each once."""
        return list(self._notes)

    @property
    def peak_memory(self) -> int:
        """Largest resident memory of the processes, added up, in bytes."""
        return sum(self._peaks.values())

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def render(
        self, tasks: Iterable[SegmentTask], cancel: CancelToken, on_progress: OnProgress
    ) -> Iterator[tuple[SegmentTask, Iterator[U16Frames]]]:
        """Render tasks; see `starvsr.engine.executor.Executor`.

        Raises:
            WorkerError: A process ended, or met an error that cannot be told here as it is.
        """
        state = _UnderWay(iter(tasks), on_progress)
        num_out = 0
        try:
            while True:
                self._hand_out(state, num_out)
                if num_out in state.done:
                    num_out += 1
                    task, store = state.done.pop(num_out - 1)
                    yield task, iter(store)
                    del task, store
                    continue
                if state.is_exhausted and num_out == state.num_taken:
                    return
                self._listen(state, cancel)
        finally:
            if any(worker.task is not None for worker in self._workers):
                self.close()  # given up on: what they render is of no use

    def close(self) -> None:
        """End all processes; those that are rendering are not waited for."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
            if worker.task is not None:
                worker.process.terminate()
        for worker in workers:
            worker.process.join(_END_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()

    # ---- tasks out

    def _hand_out(self, state: _UnderWay, num_out: int) -> None:
        """Give each idle process a task; take one more from the iterator, so that its frames are at hand."""
        while True:
            if state.waiting is None and not state.is_exhausted and state.num_taken - num_out < self.most_in_flight:
                state.waiting = next(state.tasks, None)
                state.is_exhausted = state.waiting is None
                state.num_taken += state.waiting is not None
            worker = self._idle_worker() if state.waiting is not None else None
            if worker is None:
                return
            assert state.waiting is not None
            worker.task, worker.place, state.waiting = state.waiting, state.num_taken - 1, None
            try:
                is_new = worker.render is not worker.task.render
                worker.render = worker.task.render
                settings = worker.render if is_new else None
                worker.connection.send((settings, worker.task.segment, worker.task.frames))
            except (BrokenPipeError, ConnectionResetError):
                raise self._lost(worker) from None

    def _idle_worker(self) -> _Worker | None:
        """Return a process without a task, a new one while there are fewer than devices."""
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) == len(self._devices):
            return None
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        device = self._devices[len(self._workers)]
        process = context.Process(
            target=work, args=(theirs, device, self._threads), name=f"starvsr-{device}", daemon=True
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, device))
        return self._workers[-1]

    # ---- messages in

    def _listen(self, state: _UnderWay, cancel: CancelToken) -> None:
        """Wait for a message of any process, but not long."""
        cancel.raise_if_cancelled()
        busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
        for connection in wait(list(busy), _PATIENCE):
            worker = busy[connection]  # type: ignore[index]
            try:
                problem = self._take(worker, worker.connection.recv(), state)
            except (EOFError, ConnectionResetError, BrokenPipeError):
                raise self._lost(worker) from None
            if problem is not None:
                raise problem

    def _take(self, worker: _Worker, message: tuple[Any, ...], state: _UnderWay) -> BaseException | None:
        """Take a message; return the error that it tells, if any."""
        kind, *content = message
        assert worker.task is not None
        if kind == PROGRESS:
            state.on_progress(worker.task, content[0])
        elif kind == REPLAN:
            if self.on_replan is not None:
                self.on_replan(content[0])
        elif kind == RESULT:
            shape, notes, peak = content
            store = np.empty(shape, np.uint16)
            for frame in store:
                worker.connection.recv_bytes_into(memoryview(frame).cast("B"))
            self._notes.update(dict.fromkeys(notes))
            assert worker.process.pid is not None
            self._peaks[worker.process.pid] = peak
            state.done[worker.place] = worker.task, store
            worker.task = None
        elif kind == ERROR:
            problem = _received_error(worker, *content)
            worker.task = worker.render = None
            return problem
        return None

    def _lost(self, worker: _Worker) -> WorkerError:
        """Return the error for a process that ended on its own."""
        assert worker.task is not None
        segment = worker.task.segment
        worker.process.join(_END_SECONDS)
        code = worker.process.exitcode
        return WorkerError(
            f"the process that computed frames {segment.keep_start} to {segment.keep_stop - 1} on {worker.device} "
            f"ended ({_how(code)}): finished parts are kept, and the same command goes on with them; where memory is "
            "short, with fewer --processes"
        )


def _how(code: int | None) -> str:
    if code is None:
        return "its connection broke"
    if code >= 0:
        return f"with exit status {code}; in a script, call starvsr under if __name__ == '__main__'"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"by {name}, as the system does when memory runs out" if name == "SIGKILL" else f"by {name}"
    return f"by signal {-code}"


def _received_error(worker: _Worker, words: str, where: str) -> BaseException:
    """Return the error of another process, with the place where it arose as its cause."""
    try:
        error = worker.connection.recv()
    except (EOFError, OSError):
        raise
    except Exception:  # what its constructor makes of what was pickled
        error = None
    if not isinstance(error, BaseException):
        error = WorkerError(f"a process that computed on {worker.device} met an error: {words}")
    error.__cause__ = RemoteTraceback(where)
    return error
