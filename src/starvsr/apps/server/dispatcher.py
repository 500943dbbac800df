"""The queue at work: inputs are checked, and each device has a thread with a worker process that does job after job.

What happens to a job is in the record before it is done, so that a server that is killed finds its jobs again: a job
that was running is queued, and goes on with the parts that its folder holds.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from starvsr.apps.server.checks import check_job
from starvsr.apps.server.errors import RefusedError, no_such, queue_full
from starvsr.apps.server.places import Places
from starvsr.apps.server.records import UNFINISHED, WAITING, JobRecord, State
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.apps.server.worker_process import WorkerDiedError, WorkerProcess
from starvsr.errors import StarVsrError

_LOG = logging.getLogger("starvsr.server")
_MOST_CRASHES = 3
_IDLE = 0.5
_TIDY_EVERY = 30.0
_FREE_DISK = 1 << 30
Wish = Literal["paused", "cancelled", "deleted", "queued"]


@dataclass
class _Running:
    worker: WorkerProcess
    wish: Wish | None = None
    progress: dict[str, Any] = field(default_factory=dict)


class Dispatcher:
    """Runs the jobs of a store.

    Args:
        store: The record.
        places: The files.
        settings: Of the server.
        devices: A worker process is started for each when it is needed.
    """

    def __init__(self, store: Store, places: Places, settings: ServerSettings, devices: tuple[str, ...]) -> None:
        self._store, self._places, self._settings, self._devices = store, places, settings, devices
        self._changed = threading.Condition()
        self._running: dict[str, _Running] = {}
        self._served: Counter[str] = Counter()  # jobs begun for each user, for fair turns
        self._is_closing = False
        self._threads: list[threading.Thread] = []
        self._last_seconds = 30.0

    def start(self) -> None:
        """Take up what an earlier server left, and begin."""
        for job in self._store.jobs(states=("running",)):
            self._store.change(job.id, state="queued")
        works: list[Callable[[], None]] = [self._check_inputs, self._tidy]
        works += [lambda device=device: self._serve(device) for device in self._devices]  # type: ignore[misc]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the workers; running jobs go on with the next server."""
        with self._changed:
            self._is_closing = True
            for running in self._running.values():
                running.wish = running.wish or "queued"
            workers = [running.worker for running in self._running.values()]
            self._changed.notify_all()
        for worker in workers:
            worker.close()
        for thread in self._threads:
            thread.join(20)

    # ---- what requests ask for

    def submit(self, job: JobRecord) -> None:
        """Queue a job.

        Raises:
            RefusedError: There is no room.
        """
        options = self._settings.options
        with self._store.locked():
            waiting = self._store.jobs(states=WAITING)
            mine = len(self._store.jobs(job.user, UNFINISHED))
            if len(waiting) >= options.max_jobs:
                raise queue_full(
                    f"{len(waiting)} jobs are waiting or running, as many as are allowed", self.retry_after()
                )
            if mine >= options.max_jobs_per_user:
                raise queue_full(f"{mine} jobs of yours are not finished, as many as are allowed", self.retry_after())
            self.need_disk(0)
            self._store.add_job(job)
        self._notify()

    def need_disk(self, num_bytes: int) -> None:
        """Refuse what the disk, or the operator's share of it, has no room for.

        Raises:
            RefusedError: So it is.
        """
        most = self._settings.options.max_disk
        free = shutil.disk_usage(self._places.data).free
        has_share = self._store.num_bytes + num_bytes <= most
        if not has_share or free - num_bytes < _FREE_DISK:
            raise RefusedError(
                507,
                "disk_full",
                "the file or job was not taken",
                "the disk of the server is full"
                if has_share
                else "files of all users take as much of the disk as is allowed",
                "delete results and uploads that are not needed, or wait until some expire",
            )

    def retry_after(self) -> int:
        """Return seconds after which there may be room."""
        left = [r.progress.get("seconds_left") for r in list(self._running.values())]
        known = [seconds for seconds in left if seconds is not None]
        return int(min(600, max(5, min(known, default=self._last_seconds))))

    def pause(self, id: str, user: str) -> None:
        """Stop a job and keep what is finished.

        Raises:
            RefusedError: There is no such job, or it has ended.
        """
        self._wish(id, user, "paused", ("queued", "running"))

    def resume(self, id: str, user: str) -> None:
        """Queue a paused job, or one that failed, again.

        Raises:
            RefusedError: There is no such job, or it is neither.
        """
        job = self._store.job(id, user)
        state: State = "queued" if job.facts else "checking"
        again = {"message": None, "finished": None, "num_crashes": 0}
        if not self._store.change(id, only_in=("paused", "failed"), state=state, **again):
            raise _wrong_state(job, "resumed", "only paused and failed jobs go on")
        self._notify()

    def cancel(self, id: str, user: str) -> None:
        """Stop a job and drop what is finished.

        Raises:
            RefusedError: There is no such job, or it has ended.
        """
        self._wish(id, user, "cancelled", ("checking", "queued", "paused", "running"))

    def delete(self, id: str, user: str) -> None:
        """Remove a job, with its result.

        Raises:
            RefusedError: There is no such job.
        """
        self._wish(id, user, "deleted", None)

    def _wish(self, id: str, user: str, wish: Wish, states: tuple[State, ...] | None) -> None:
        with self._changed:
            job = self._store.job(id, user)
            if states is not None and job.state not in states:
                raise _wrong_state(job, wish, "it is not waiting or running")
            running = self._running.get(id)
            if running is not None:
                running.wish = wish
                running.worker.stop(id)
                return
            self._end_as(job, wish)

    def progress(self, id: str) -> dict[str, Any]:
        """Return the last report of a running job; empty when there is none."""
        running = self._running.get(id)
        return {} if running is None else dict(running.progress)

    def is_stopping(self, id: str) -> bool:
        """Whether a running job was asked to stop."""
        running = self._running.get(id)
        return running is not None and running.wish is not None

    def position(self, id: str) -> int | None:
        """Return how many jobs are before one that waits; None when it does not wait."""
        ids = [job.id for job in self._store.jobs(states=("queued",))]
        return ids.index(id) if id in ids else None

    def worker_pids(self) -> list[int]:
        """Return the processes that work on jobs."""
        return [running.worker.pid for running in list(self._running.values())]

    # ---- checking

    def _check_inputs(self) -> None:
        while not self._is_closing:
            waiting = self._store.jobs(states=("checking",))
            if not waiting:
                self._sleep(_IDLE)
            for job in waiting[:1]:
                self._check(job)

    def _check(self, job: JobRecord) -> None:
        try:
            found = check_job(job, self._places.output(job), self._settings)
        except (StarVsrError, OSError) as error:
            self._fail(job, " ".join(str(error).split()), ("checking",))
        except Exception as error:
            _LOG.exception("job %s: the check of its input failed", job.id)
            self._fail(job, f"unexpected {type(error).__name__}; please report it", ("checking",))
        else:
            values = {"facts": found.facts, "num_bytes": found.num_bytes, "container": found.container}
            result = {"width": found.size[0], "height": found.size[1]}
            self._store.change(job.id, only_in=("checking",), state="queued", result=result, **values)
        self._notify()

    # ---- working

    def _serve(self, device: str) -> None:
        worker: WorkerProcess | None = None
        while (job := self._next()) is not None:
            if worker is None or not worker.is_alive:
                worker = WorkerProcess()
            running = _Running(worker)
            with self._changed:
                self._running[job.id] = running
                taken = not self._is_closing and self._store.change(
                    job.id, only_in=("queued",), state="running", started=job.started or time.time()
                )
                if not taken:
                    del self._running[job.id]
                    continue
                self._served[job.user] += 1
            if not self._run(job, device, running):
                worker.close()
                worker = None
        if worker is not None:
            worker.close()

    def _next(self) -> JobRecord | None:
        """Wait for a job; the user who had the fewest turns comes first, then the oldest job."""
        while not self._is_closing:
            waiting = self._store.jobs(states=("queued",))
            if waiting:
                return min(waiting, key=lambda job: (self._served[job.user], job.created, job.id))
            self._served.clear()
            self._sleep(_IDLE)
        return None

    def _run(self, job: JobRecord, device: str, running: _Running) -> bool:
        """Have a job done; say whether the worker lives."""
        began = time.monotonic()
        self._places.folder(job).mkdir(mode=0o700, exist_ok=True)
        try:
            for reply in running.worker.run(self._order(job, device)):
                if reply["kind"] == "progress":
                    running.progress = reply
        except WorkerDiedError as death:
            with self._changed:
                del self._running[job.id]
                self._after_death(job, running.wish, str(death))
            self._notify()
            return False
        self._last_seconds = time.monotonic() - began
        with self._changed:
            del self._running[job.id]
            self._after_reply(job, running.wish, reply)
        self._notify()
        return True

    def _order(self, job: JobRecord, device: str) -> dict[str, Any]:
        options = self._settings.options
        limits = {
            name: str(v) if name in ("max_duration", "max_stall") else v for name, v in self._settings.limits().items()
        }
        return {
            "job": job.id,
            "source": job.source,
            "out": str(self._places.output(job)),
            "options": job.options,
            "limits": limits,
            "device": device,
            "memory": options.memory,
            "threads": options.threads,
        }

    def _after_reply(self, job: JobRecord, wish: Wish | None, reply: dict[str, Any]) -> None:
        if reply["kind"] == "done" and wish != "deleted":
            out = self._places.output(job)
            numbers = {name: reply[name] for name in reply if name not in ("kind", "job", "notes")}
            result = {**job.result, **numbers, "num_bytes": out.stat().st_size}
            notes = [self._places.told(note, job) for note in reply["notes"]]
            values = {"result": result, "notes": notes, "num_bytes": result["num_bytes"]}
            self._store.change(job.id, state="done", finished=time.time(), **values)
        elif reply["kind"] == "failed" and wish is None:
            self._fail(job, reply["message"], ("running",))
        else:
            self._end_as(self._store.job(job.id), wish or "queued")

    def _after_death(self, job: JobRecord, wish: Wish | None, how: str) -> None:
        if wish is not None:
            self._end_as(self._store.job(job.id), wish)
            return
        num_crashes = job.num_crashes + 1
        _LOG.warning("job %s: its worker ended (%s), for the %d. time", job.id, how, num_crashes)
        if num_crashes < _MOST_CRASHES:
            self._store.change(job.id, state="queued", num_crashes=num_crashes)
        else:
            why = f"its process ended {num_crashes} times, last by {how}: is there enough memory?"
            self._fail(job, f"{why} Finished parts are kept, and resuming goes on with them", ("running",))

    def _end_as(self, job: JobRecord, wish: Wish) -> None:
        if wish in ("paused", "queued"):
            self._store.change(job.id, state=wish, finished=time.time() if wish == "paused" else None)
            return
        self._places.remove(job)
        if wish == "deleted":
            self._store.remove_job(job.id)
        else:
            self._store.change(job.id, state="cancelled", finished=time.time(), num_bytes=0)

    def _fail(self, job: JobRecord, message: str, states: tuple[State, ...]) -> None:
        told = self._places.told(message, job)
        self._store.change(job.id, only_in=states, state="failed", message=told, finished=time.time())

    # ---- tidying

    def _tidy(self) -> None:
        while not self._is_closing:
            with contextlib.suppress(OSError):
                self.expire(time.time() - float(self._settings.options.expire))
            self._sleep(_TIDY_EVERY, wakes=False)

    def expire(self, before: float) -> None:
        """Remove jobs that ended or paused, and uploads that came, before a time in seconds since the epoch."""
        for job in self._store.jobs():
            if (job.is_finished or job.state == "paused") and (job.finished or job.created) < before:
                with contextlib.suppress(RefusedError):
                    self.delete(job.id, job.user)
        for upload in self._store.uploads():
            path = self._places.upload(upload)
            touched = path.stat().st_mtime if path.exists() else upload.created
            if touched < before and not self._store.is_used(upload.id):
                path.unlink(missing_ok=True)
                self._store.remove_upload(upload.id)

    def _sleep(self, seconds: float, *, wakes: bool = True) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while not self._is_closing and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
                if wakes:
                    return

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _wrong_state(job: JobRecord, wish: str, why: str) -> RefusedError:
    return RefusedError(
        409, "wrong_state", f"the job cannot be {wish}", f"it is {job.state}, and {why}", "look at its state first"
    )


def known_job(store: Store, id: str, user: str, path: Path | None = None) -> JobRecord:
    """Return a job whose result can be fetched.

    Raises:
        RefusedError: There is no such job, or it is not done.
    """
    job = store.job(id, user)
    if job.state != "done" or path is None or not path.is_file():
        raise RefusedError(
            409, "not_done", "there is no result yet", f"the job is {job.state}", "wait for it to be done"
        )
    return job


__all__ = ["Dispatcher", "known_job", "no_such"]
