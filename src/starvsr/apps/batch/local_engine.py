"""Workers as processes of this machine: one for each device."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starvsr.apps.batch.engine import Order, Reply, Worker
from starvsr.apps.batch.settings import WorkSettings
from starvsr.apps.server.worker_process import WorkerDiedError, WorkerProcess
from starvsr.errors import WorkerError

_MOST_STARTS = 3  # in a row that end before a worker is ready


@dataclass
class _Place:
    """A device, and the process that serves it."""

    name: str
    environment: dict[str, str]
    process: WorkerProcess | None = None
    worker: Worker | None = None
    order: Order | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    num_failed_starts: int = 0
    is_stopped: bool = False


class LocalEngine:
    """Has one process for each device; see `starvsr.apps.batch.engine.Engine` for what holds.

    Args:
        settings: Of the batch.
        gpus: The visible devices of each process, as CUDA_VISIBLE_DEVICES names them; None for the processor.
        module: What runs in the processes.
    """

    def __init__(
        self, settings: WorkSettings, gpus: Sequence[str | None], module: str = "starvsr.apps.batch.local_worker"
    ) -> None:
        if not gpus:
            raise ValueError("one process at least is needed")
        self._settings, self._module = settings, module
        self._places = [
            _Place(f"worker {number}", {"CUDA_VISIBLE_DEVICES": gpu or ""}) for number, gpu in enumerate(gpus)
        ]
        self._events: queue.Queue[tuple[_Place, Order, dict[str, Any] | None, str]] = queue.Queue()
        self._problem = ""
        self._is_closing = False
        self.notes: list[str] = []

    def start(self) -> None:
        """Begin to start the processes."""
        for place in self._places:
            self._begin(place)

    def idle(self) -> list[Worker]:
        """Return the workers that have no order.

        Raises:
            WorkerError: None can be started.
        """
        if all(place.num_failed_starts >= _MOST_STARTS for place in self._places):
            raise WorkerError(f"no worker can be started here: {self._problem}")
        return [place.worker for place in self._places if place.worker is not None and place.order is None]

    def submit(self, worker: str, order: Order) -> None:
        """Give an idle worker an order."""
        place = next(place for place in self._places if place.worker is not None and place.worker.name == worker)
        self._send(place, order)

    def wait(self, seconds: float) -> list[Reply]:
        """Return the orders that came to an end."""
        replies: list[Reply] = []
        try:
            events = [self._events.get(timeout=seconds)]
            while not self._events.empty():
                events.append(self._events.get_nowait())
        except queue.Empty:
            return replies
        for place, order, content, loss in events:
            place.order, place.progress = None, {}
            if order["op"] != "hello":
                replies.append(Reply(place.name, order, content, loss))
            elif content is not None and content["kind"] == "hello":
                place.num_failed_starts = 0
                told = f"{content['host']}, process {content['pid']}, {content['device']}"
                place.worker = Worker(place.name, content["kind_of_device"], told)
            elif not self._is_closing:
                place.num_failed_starts += 1
                self._problem = (
                    content.get("message", "it was stopped") if content is not None else f"it ended ({loss})"
                )
                if content is not None and place.process is not None:
                    place.process.close()
                place.worker = None
            if (content is None or place.worker is None) and not self._is_closing:
                place.worker = None
                if place.num_failed_starts < _MOST_STARTS:
                    self._begin(place)
        return replies

    def progress(self) -> list[dict[str, Any]]:
        """Return what the workers say about their orders."""
        return [dict(place.progress) for place in self._places if place.order is not None and place.progress]

    def stop(self) -> None:
        """Ask all workers to give up what they do."""
        for place in self._places:
            if place.process is not None:
                place.process.stop("")

    def close(self) -> None:
        """End all processes."""
        self._is_closing = True
        for place in self._places:
            if place.process is not None:
                place.process.close()

    # ----

    def _begin(self, place: _Place) -> None:
        words = [json.dumps(self._settings.as_dict())]
        place.process = WorkerProcess(self._module, words, place.environment)
        self._send(place, {"op": "hello"})

    def _send(self, place: _Place, order: Order) -> None:
        place.order = order
        threading.Thread(target=self._follow, args=(place, place.process, order), daemon=True).start()

    def _follow(self, place: _Place, process: WorkerProcess, order: Order) -> None:
        try:
            for reply in process.run(order):
                if reply["kind"] == "progress":
                    place.progress = reply
        except WorkerDiedError as death:
            self._events.put((place, order, None, f"its process ended by {death}"))
        else:
            self._events.put((place, order, reply, ""))
