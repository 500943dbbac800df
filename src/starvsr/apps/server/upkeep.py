"""What happens to jobs beside the work: inputs are checked before they are queued, old results are removed."""

from __future__ import annotations

import logging

from starvsr.apps.server.board import Board
from starvsr.apps.server.checks import check_job
from starvsr.apps.server.outcomes import Outcomes
from starvsr.apps.server.places import Places
from starvsr.apps.server.records import JobRecord
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.errors import StarVsrError

_LOG = logging.getLogger("starvsr.server")
_IDLE = 0.5


class InputChecks:
    """Looks at the inputs of jobs, one after the other.

    Args:
        board: What the threads of the queue share.
        store: The record.
        places: The files.
        settings: Of the server.
    """

    def __init__(self, board: Board, store: Store, places: Places, settings: ServerSettings) -> None:
        self._board, self._store, self._places, self._settings = board, store, places, settings
        self._outcomes = Outcomes(store, places)

    def run(self) -> None:
        """Check inputs until the server ends."""
        while not self._board.is_closing:
            waiting = self._store.jobs(states=("checking",))
            if not waiting:
                self._board.sleep(_IDLE)
            for job in waiting[:1]:
                self._check(job)

    def _check(self, job: JobRecord) -> None:
        try:
            found = check_job(job, self._places.output(job), self._settings)
        except (StarVsrError, OSError) as error:
            self._outcomes.fail(job, " ".join(str(error).split()), ("checking",))
        except Exception as error:
            _LOG.exception("job %s: the check of its input failed", job.id)
            self._outcomes.fail(job, f"unexpected {type(error).__name__}; please report it", ("checking",))
        else:
            values = {"facts": found.facts, "num_bytes": found.num_bytes, "container": found.container}
            result = {"width": found.size[0], "height": found.size[1]}
            self._store.change(job.id, only_in=("checking",), state="queued", result=result, **values)
        self._board.notify()


def expired_jobs(store: Store, before: float) -> list[JobRecord]:
    """Return the jobs that ended or paused before a time in seconds since the epoch."""
    return [
        job
        for job in store.jobs()
        if (job.is_finished or job.state == "paused") and (job.finished or job.created) < before
    ]


def remove_uploads(store: Store, places: Places, before: float) -> None:
    """Remove uploads that came before a time in seconds since the epoch, and that no unfinished job reads."""
    for upload in store.uploads():
        path = places.upload(upload)
        touched = path.stat().st_mtime if path.exists() else upload.created
        if touched < before and not store.is_used(upload.id):
            path.unlink(missing_ok=True)
            store.remove_upload(upload.id)
