"""Copies that browsers play, of the inputs and results of finished jobs: made when they are asked for, one at a time.

A copy lies in the folder of its job: it goes with it, and counts in the share of its user.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from starvsr.apps.server.dispatcher import Dispatcher
from starvsr.apps.server.errors import RefusedError, queue_full
from starvsr.apps.server.places import Places
from starvsr.apps.server.records import JobRecord
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.apps.server.worker_process import WorkerDiedError, WorkerProcess

Side = Literal["source", "result"]
CopyState = Literal["waiting", "making", "ready", "failed"]
_LOOK_EVERY = 0.5
_RETRY_AFTER = 30


@dataclass(frozen=True)
class CopyStatus:
    """Where a copy is.

    Attributes:
        state: ``waiting`` for others before it, ``making``, ``ready`` or ``failed``.
        fraction: 0 to 1, while it is made and as far as it is known.
        error: Why it failed.
    """

    state: CopyState
    fraction: float | None = None
    error: str | None = None


class Copies:
    """Makes copies, each in a process of its own that decodes in another.

    Args:
        store: The record.
        places: The files.
        dispatcher: Knows how much of the disk is free.
        settings: Of the server.
    """

    def __init__(self, store: Store, places: Places, dispatcher: Dispatcher, settings: ServerSettings) -> None:
        self._store, self._places, self._dispatcher, self._settings = store, places, dispatcher, settings
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Side, Path]] = deque()
        self._states: dict[tuple[str, Side], CopyStatus] = {}
        self._thread: threading.Thread | None = None
        self._worker: WorkerProcess | None = None
        self._is_closing = False

    def status(self, job: JobRecord, side: Side) -> CopyStatus | None:
        """Return where the copy of a job's input or result is; None where nobody asked for one."""
        if self._places.playable_copy(job, side) is not None:
            return CopyStatus("ready")
        with self._changed:
            return self._states.get((job.id, side))

    def ask(self, job: JobRecord, side: Side, source: Path) -> CopyStatus:
        """Have a copy made, if it is not there or under way.

        Args:
            job: A finished job.
            side: Which of its files.
            source: That file.

        Raises:
            RefusedError: There is no room on the disk, or too many copies are waited for.
        """
        found = self.status(job, side)
        if found is not None and found.state != "failed":
            return found
        self._dispatcher.need_disk(0, job.user)
        with self._changed:
            if len(self._waiting) >= self._settings.options.max_jobs:
                raise queue_full("as many copies as are allowed are waited for", _RETRY_AFTER)
            if (job.id, side) not in [entry[:2] for entry in self._waiting]:
                self._waiting.append((job.id, side, source))
            self._states[job.id, side] = CopyStatus("waiting")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return self._states[job.id, side]

    def close(self) -> None:
        """Give up what is under way."""
        with self._changed:
            self._is_closing = True
            worker, thread = self._worker, self._thread
            self._changed.notify_all()
        if worker is not None:
            worker.kill()
        if thread is not None:
            thread.join(20)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closing:
                    self._changed.wait()
                if self._is_closing:
                    return
                id, side, source = self._waiting.popleft()
            try:
                self._make(self._store.job(id), side, source)
            except RefusedError:
                pass  # the job is gone
            except Exception as error:  # the others that wait must not wait for ever
                with self._changed:
                    why = f"unexpected {type(error).__name__}; please report it"
                    self._states[id, side] = CopyStatus("failed", error=why)
            with self._changed:
                left = self._states.get((id, side))
                if left is not None and left.state != "failed":
                    del self._states[id, side]

    def _make(self, job: JobRecord, side: Side, source: Path) -> None:
        self._tell(job, side, CopyStatus("making"))
        with self._changed:
            if self._is_closing:
                return
            worker = self._worker = WorkerProcess("starvsr.apps.server.copy_worker")
        watch = threading.Thread(target=self._watch, args=(job.id, worker), daemon=True)
        watch.start()
        try:
            reply: dict[str, Any] = {}
            for reply in worker.run(self._order(job, side, source)):
                if reply["kind"] == "progress":
                    self._tell(job, side, CopyStatus("making", reply["fraction"]))
        except WorkerDiedError as death:
            reply = {"kind": "failed", "message": f"its process ended by {death}: is there enough memory?"}
        finally:
            worker.close()
            self._worker = None
            watch.join()
        self._end(job, side, source, reply)

    def _end(self, job: JobRecord, side: Side, source: Path, reply: dict[str, Any]) -> None:
        with self._store.locked():
            try:
                now = self._store.job(job.id)
            except RefusedError:
                self._places.remove(job)
                return
            if reply["kind"] == "done":
                self._store.change(job.id, num_bytes=now.num_bytes + reply["num_bytes"])
                return
        for left in self._places.folder(job).glob(f"{self._places.copy_stem(job, side).name}.*"):
            left.unlink(missing_ok=True)
        why = self._places.told(reply["message"].replace(str(source), job.name), job)
        self._tell(job, side, CopyStatus("failed", error=why))

    def _watch(self, id: str, worker: WorkerProcess) -> None:
        """End the process when its job is removed."""
        while worker.is_alive:
            try:
                self._store.job(id)
            except RefusedError:
                worker.kill()
                return
            with self._changed:
                if not self._is_closing:
                    self._changed.wait(_LOOK_EVERY)

    def _tell(self, job: JobRecord, side: Side, status: CopyStatus) -> None:
        with self._changed:
            self._states[job.id, side] = status

    def _order(self, job: JobRecord, side: Side, source: Path) -> dict[str, Any]:
        options = self._settings.options
        limits = self._settings.limits()
        if side == "result":
            limits["max_pixels"] = max(options.max_input_pixels, options.max_output_pixels)
        return {
            "source": str(source),
            "stem": str(self._places.copy_stem(job, side)),
            "sound": side == "result",  # the player takes it from there
            "on_corrupt": job.options.get("on_corrupt", "error"),
            "most_bytes": self._dispatcher.free_disk(job.user),
            "limits": {name: value if isinstance(value, int) else str(value) for name, value in limits.items()},
        }
