"""A process that renders segments for another: loads the model once, keeps a session open, sends frames back.

The other side is `starvsr.engine.process_executor`. A task comes as its `RenderSettings` (None: those of the task
before), its segment and its frames. Messages back are tuples that begin with their kind; the frames of a result follow
it as raw bytes, one after the other, so that neither side holds them twice. Messages are pickled by multiprocessing:
both sides are this program, and frames are decoded before they are sent.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

from starvsr.engine.processor import processor_threads
from starvsr.engine.progress import peak_memory_bytes
from starvsr.engine.render import Pixels
from starvsr.engine.segment_task import RenderSettings, SegmentTask
from starvsr.engine.segments import Segment
from starvsr.engine.upscaler import ModelReference, Session, Upscaler, kind_of
from starvsr.errors import OptionError, WeightsError, WorkerError

PROGRESS, REPLAN, RESULT, ERROR = "progress", "replan", "result", "error"
_REPORT_EVERY = 0.2
_PARENT_IS_GONE = 3


def work(connection: Connection, device: str, threads: int | None) -> None:
    """Render the tasks that come in until the connection ends.

    Args:
        connection: Brings tasks and takes messages.
        device: Where the model is loaded.
        threads: Processor threads that the network may use; None: as many as the system allows.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent decides
    threading.Thread(target=_end_with_parent, name="starvsr-parent", daemon=True).start()
    ended = contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError)
    with ended, processor_threads(threads), _Renderer(connection, device) as renderer:
        while True:
            renderer.render(*connection.recv())


def _end_with_parent() -> None:
    """End this process, whatever it does, when the one that started it is gone."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(_PARENT_IS_GONE)


class _Renderer:
    """Renders tasks with one model and one session at a time."""

    def __init__(self, connection: Connection, device: str) -> None:
        self._connection, self._device = connection, device
        self._render: RenderSettings | None = None
        self._upscaler: Upscaler | None = None
        self._loaded: bytes | None = None  # the reference that the model was loaded by
        self._session: Session | None = None
        self._open = contextlib.ExitStack()
        self._last_report = 0.0

    def __enter__(self) -> _Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def render(self, settings: RenderSettings | None, segment: Segment, frames: tuple[Pixels, ...]) -> None:
        """Render one task and send what comes of it."""
        try:
            render, session = self._opened(settings)
            made = list(SegmentTask(render, segment, frames).run(session, self._device, self._report))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except BaseException as error:
            self._send_error(error)
            return
        self._connection.send((RESULT, (len(made), *made[0].shape), list(session.notes), peak_memory_bytes()))
        for frame in made:
            self._connection.send_bytes(frame.data.cast("B"))

    def _send_error(self, error: BaseException) -> None:
        """Send an error in words, and where it arose; then the error itself, or None when it cannot be pickled."""
        words = f"{type(error).__name__}: {error}"
        self._connection.send((ERROR, words, "".join(traceback.format_exception(error))))
        try:
            self._connection.send(error)
        except OSError:
            raise
        except Exception:  # whatever pickling it raises
            self._connection.send(None)

    def _opened(self, settings: RenderSettings | None) -> tuple[RenderSettings, Session]:
        """Return settings and the open session for them; a new job gets a session, another model is loaded."""
        if settings is not None:
            self._open.close()
            self._render = self._session = None
            upscaler = self._model_of(settings)
            self._session = self._open.enter_context(upscaler.open(settings.settings, settings.plan))
            self._session.on_replan = lambda plan: self._connection.send((REPLAN, plan))
            self._render = settings
        assert self._render is not None and self._session is not None
        return self._render, self._session

    def _model_of(self, render: RenderSettings) -> Upscaler:
        reference = render.model
        if reference is None:
            raise WorkerError("a task names no model: it cannot leave the process that made it")
        wanted = pickle.dumps(reference)
        if self._upscaler is None or self._loaded != wanted:
            self._upscaler = None  # the old one goes first
            self._upscaler, self._loaded = _load(reference, self._device), wanted
        if self._upscaler.traits_for(render.settings.values).digest != render.traits.digest:
            raise WeightsError(
                f"the weights of {reference.name} changed while the job ran: put back those that it was begun with, or "
                "begin anew with --restart"
            )
        return self._upscaler

    def _report(self, share: float) -> None:
        now = time.monotonic()
        if share == 1 or now - self._last_report > _REPORT_EVERY:
            self._connection.send((PROGRESS, share))
            self._last_report = now


def _load(reference: ModelReference, device: str) -> Upscaler:
    upscaler: Upscaler = reference.load(device=device)
    if kind_of(upscaler) != reference.kind:
        raise OptionError(
            f"model {reference.name} of the job is a {reference.kind}, and what is loaded by that name is a "
            f"{kind_of(upscaler)}: give it a name of its own"
        )
    return upscaler
