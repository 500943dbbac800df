"""The queue: what requests ask for, and the threads that work.

What happens to a job is in the record before it is done, so that a server that is killed finds its jobs again: a job
that was running is queued, and goes on with the parts that its folder holds. Inputs are checked in one thread
(`upkeep`), and each device has a thread of its own (`device_loop`); the state that they share is a `Board`.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starvsr.apps.server.board import Board, Wish
from starvsr.apps.server.device_loop import DeviceLoop
from starvsr.apps.server.errors import RefusedError, queue_full
from starvsr.apps.server.outcomes import Outcomes
from starvsr.apps.server.places import Places
from starvsr.apps.server.records import UNFINISHED, WAITING, JobRecord, State
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.apps.server.upkeep import InputChecks, expired_jobs, remove_uploads
from starvsr.quantities import format_size

_TIDY_EVERY = 30.0
_FREE_DISK = 1 << 30


class Dispatcher:
    """Runs the jobs of a store.

    Args:
        store: The record.
        places: The files.
        settings: Of the server.
        devices: A worker process is started for each when it is needed.
    """

    def __init__(self, store: Store, places: Places, settings: ServerSettings, devices: tuple[str, ...]) -> None:
        self._store, self._places, self._settings = store, places, settings
        self._board = board = Board()
        self._outcomes = Outcomes(store, places)
        self._works: list[Callable[[], None]] = [InputChecks(board, store, places, settings).run, self._tidy]
        self._works += [DeviceLoop(device, board, store, places, settings).run for device in devices]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Take up what an earlier server left, and begin."""
        for job in self._store.jobs(states=("running",)):
            self._store.change(job.id, state="queued")
        self._threads = [threading.Thread(target=work, daemon=True) for work in self._works]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the workers; running jobs go on with the next server."""
        board = self._board
        with board.changed:
            board.is_closing = True
            for running in board.running.values():
                running.wish = running.wish or "queued"
            workers = [running.worker for running in board.running.values()]
            board.changed.notify_all()
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
            self.need_disk(0, job.user)
            self._store.add_job(job)
        self._board.notify()

    def need_disk(self, num_bytes: int, user: str) -> None:
        """Refuse a file for which the disk, or the share of all users or of this one, has no room.

        Raises:
            RefusedError: There is no room.
        """
        options = self._settings.options
        free = shutil.disk_usage(self._places.data).free
        most_of_user = options.max_disk if options.max_disk_per_user is None else options.max_disk_per_user
        if self._store.num_bytes(user) + num_bytes > most_of_user:
            why = f"your files take as much of the disk as is allowed, {format_size(most_of_user)}"
        elif self._store.num_bytes() + num_bytes > options.max_disk:
            why = "files of all users take as much of the disk as is allowed"
        elif free - num_bytes < _FREE_DISK:
            why = "the disk of the server is full"
        else:
            return
        next_step = "delete results and uploads that are not needed, or wait until some expire"
        raise RefusedError(507, "disk_full", "the file or job was not taken", why, next_step)

    def retry_after(self) -> int:
        """Return seconds after which there may be room."""
        left = [r.progress.get("seconds_left") for r in list(self._board.running.values())]
        known = [seconds for seconds in left if seconds is not None]
        return int(min(600, max(5, min(known, default=self._board.last_seconds))))

    def pause(self, id: str, user: str) -> None:
        """Stop a job and keep what is finished.

        Raises:
            RefusedError: There is no such job, or it has ended.
        """
        job = self._store.job(id, user)
        if job.is_preview:
            raise _wrong_state(job, "paused", "a preview has no finished parts to go on with")
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
        self._board.notify()

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
        with self._board.changed:
            job = self._store.job(id, user)
            if states is not None and job.state not in states:
                raise _wrong_state(job, wish, "it is not waiting or running")
            running = self._board.running.get(id)
            if running is not None:
                running.wish = wish
                if job.is_preview:  # it looks for no stop, and what it made is worth nothing
                    running.worker.kill()
                else:
                    running.worker.stop(id)
                return
            self._outcomes.end_as(job, wish)

    def progress(self, id: str) -> dict[str, Any]:
        """Return the last report of a running job; empty when there is none."""
        running = self._board.running.get(id)
        return {} if running is None else dict(running.progress)

    def is_stopping(self, id: str) -> bool:
        """Whether a running job was asked to stop."""
        running = self._board.running.get(id)
        return running is not None and running.wish is not None

    def position(self, id: str) -> int | None:
        """Return how many jobs are before one that waits; None when it does not wait."""
        ids = [job.id for job in self._store.jobs(states=("queued",))]
        return ids.index(id) if id in ids else None

    def free_disk(self, user: str) -> int:
        """Return the bytes that a user's files may still take."""
        options = self._settings.options
        left = [shutil.disk_usage(self._places.data).free - _FREE_DISK, options.max_disk - self._store.num_bytes()]
        if options.max_disk_per_user is not None:
            left.append(options.max_disk_per_user - self._store.num_bytes(user))
        return max(0, min(left))

    def worker_pids(self) -> list[int]:
        """Return the processes that work on jobs."""
        return [running.worker.pid for running in list(self._board.running.values())]

    # ---- tidying

    def _tidy(self) -> None:
        while not self._board.is_closing:
            with contextlib.suppress(OSError):
                self.expire(time.time() - float(self._settings.options.expire))
            self._board.sleep(_TIDY_EVERY, wakes=False)

    def expire(self, before: float) -> None:
        """Remove jobs that ended or paused, and uploads that came, before a time in seconds since the epoch."""
        for job in expired_jobs(self._store, before):
            with contextlib.suppress(RefusedError):
                self.delete(job.id, job.user)
        remove_uploads(self._store, self._places, before)


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
    if job.is_preview:
        why = "a preview writes no video"
        raise RefusedError(
            409, "not_done", "there is no result", why, f"fetch /api/v1/jobs/{id}/frames/0/after, or /clips/after"
        )
    if job.state != "done" or path is None or not path.is_file():
        raise RefusedError(
            409, "not_done", "there is no result yet", f"the job is {job.state}", "wait for it to be done"
        )
    return job
