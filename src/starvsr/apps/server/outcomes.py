"""How jobs end: what the record says after a worker's answer, after its death, and after a request to stop."""

from __future__ import annotations

import logging
import time
from typing import Any

from starvsr.apps.server.board import Wish
from starvsr.apps.server.places import Places
from starvsr.apps.server.records import JobRecord, State
from starvsr.apps.server.store import Store

_LOG = logging.getLogger("starvsr.server")
_MOST_CRASHES = 3


class Outcomes:
    """Writes how jobs end.

    Args:
        store: The record.
        places: The files.
    """

    def __init__(self, store: Store, places: Places) -> None:
        self._store, self._places = store, places

    def after_reply(self, job: JobRecord, wish: Wish | None, reply: dict[str, Any]) -> None:
        """Record the last word of a worker: "done", "stopped" or "failed"."""
        if reply["kind"] == "done" and wish != "deleted":
            numbers = {name: reply[name] for name in reply if name not in ("kind", "job", "notes")}
            result = {**job.result, **numbers, "num_bytes": self._places.result_bytes(job)}
            notes = [self._places.told(note, job) for note in reply["notes"]]
            values = {"result": result, "notes": notes, "num_bytes": result["num_bytes"]}
            self._store.change(job.id, state="done", finished=time.time(), **values)
        elif reply["kind"] == "failed" and wish is None:
            self.fail(job, reply["message"], ("running",))
        else:
            self.end_as(self._store.job(job.id), wish or "queued")

    def after_death(self, job: JobRecord, wish: Wish | None, how: str) -> None:
        """Record that the worker ended without an answer: the job is queued again, a few times."""
        if wish is not None:
            self.end_as(self._store.job(job.id), wish)
            return
        num_crashes = job.num_crashes + 1
        _LOG.warning("job %s: its worker ended (%s), for the %d. time", job.id, how, num_crashes)
        if num_crashes < _MOST_CRASHES:
            self._store.change(job.id, state="queued", num_crashes=num_crashes)
        else:
            why = f"its process ended {num_crashes} times, last by {how}: is there enough memory?"
            kept = "" if job.is_preview else " Finished parts are kept, and resuming goes on with them"
            self.fail(job, f"{why}{kept}", ("running",))

    def end_as(self, job: JobRecord, wish: Wish) -> None:
        """Bring a job that no worker has into the state that was asked for."""
        if wish in ("paused", "queued"):
            self._store.change(job.id, state=wish, finished=time.time() if wish == "paused" else None)
            return
        self._places.remove(job)
        if wish == "deleted":
            self._store.remove_job(job.id)
        else:
            self._store.change(job.id, state="cancelled", finished=time.time(), num_bytes=0)

    def fail(self, job: JobRecord, message: str, states: tuple[State, ...]) -> None:
        """Record why a job failed, if it is in one of the states."""
        told = self._places.told(message, job)
        self._store.change(job.id, only_in=states, state="failed", message=told, finished=time.time())
