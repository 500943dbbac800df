"""A device at work: a thread with a worker process that does job after job."""

from __future__ import annotations

import time
from typing import Any

from starvsr.apps.server.board import Board, Running
from starvsr.apps.server.outcomes import Outcomes
from starvsr.apps.server.places import Places
from starvsr.apps.server.records import JobRecord
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.apps.server.worker_process import WorkerDiedError, WorkerProcess

_IDLE = 0.5


class DeviceLoop:
    """Does jobs on a device, one after the other.

    Args:
        device: Its name.
        board: What the threads of the queue share.
        store: The record.
        places: The files.
        settings: Of the server.
    """

    def __init__(self, device: str, board: Board, store: Store, places: Places, settings: ServerSettings) -> None:
        self._device, self._board, self._store, self._places = device, board, store, places
        self._settings = settings
        self._outcomes = Outcomes(store, places)
        self._worker: WorkerProcess | None = None

    def run(self) -> None:
        """Do jobs until the server ends. An idle worker is ended after a while, with the model that it holds."""
        idle_since = time.monotonic()
        while not self._board.is_closing:
            job = self._next()
            if job is not None:
                self._do(job)
                idle_since = time.monotonic()
                continue
            if time.monotonic() - idle_since > float(self._settings.options.max_idle):
                self._end_worker()
            self._board.sleep(_IDLE)
        self._end_worker()

    def _next(self) -> JobRecord | None:
        """Return the job whose turn it is: previews first, then of the user who had the fewest turns, then by age."""
        waiting = self._store.jobs(states=("queued",))
        if not waiting:
            self._board.served.clear()
            return None
        served = self._board.served
        return min(waiting, key=lambda job: (not job.is_preview, served[job.user], job.created, job.id))

    def _do(self, job: JobRecord) -> None:
        if self._worker is None or not self._worker.is_alive:
            self._end_worker()
            self._worker = WorkerProcess()
        running = Running(self._worker)
        board = self._board
        with board.changed:
            board.running[job.id] = running
            taken = not board.is_closing and self._store.change(
                job.id, only_in=("queued",), state="running", started=job.started or time.time()
            )
            if not taken:
                del board.running[job.id]
                return
            if not job.is_preview:
                board.served[job.user] += 1
        self._run(job, running)

    def _run(self, job: JobRecord, running: Running) -> None:
        began = time.monotonic()
        self._places.folder(job).mkdir(mode=0o700, exist_ok=True)
        try:
            for reply in running.worker.run(self._order(job)):
                if reply["kind"] == "progress":
                    running.progress = reply
        except WorkerDiedError as death:
            with self._board.changed:
                del self._board.running[job.id]
                self._outcomes.after_death(job, running.wish, str(death))
            self._end_worker()
        else:
            self._board.last_seconds = time.monotonic() - began
            with self._board.changed:
                del self._board.running[job.id]
                self._outcomes.after_reply(job, running.wish, reply)
        self._board.notify()

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _order(self, job: JobRecord) -> dict[str, Any]:
        options = self._settings.options
        limits = {
            name: str(v) if name in ("max_duration", "max_stall") else v for name, v in self._settings.limits().items()
        }
        return {
            "job": job.id,
            "source": job.source,
            "out": str(self._places.output(job)),
            "options": job.options,
            "preview": job.preview,
            "limits": limits,
            "device": self._device,
            "memory": options.memory,
            "threads": options.threads,
        }
