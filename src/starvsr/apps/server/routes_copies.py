"""Copies that browsers play, of the input or the result of a finished job, where they cannot play the file itself."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from starvsr.apps.server.context import Context, Server, User
from starvsr.apps.server.copies import CopyStatus, Side
from starvsr.apps.server.dispatcher import known_job
from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.records import JobRecord
from starvsr.apps.server.routes_uploads import fetched
from starvsr.apps.server.submitting import source_path
from starvsr.apps.server.views import CopyView

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post("/{id}/copies/{side}", status_code=202)
def ask(id: str, side: Side, server: Server, user: User) -> CopyView:
    """Have a copy made that browsers play (H.264 or VP9, 8 bits, the same frames and times), if it is not there yet."""
    job, path = _original(id, side, server, user)
    return _view(server.copies.ask(job, side, path))


@router.get("/{id}/copies/{side}")
def look(id: str, side: Side, server: Server, user: User) -> CopyView:
    """Tell where a copy is."""
    job, _ = _original(id, side, server, user)
    status = server.copies.status(job, side)
    if status is None:
        raise _no_copy("nobody asked for one, or it was given up", id, side)
    return _view(status)


@router.head("/{id}/copies/{side}/content", include_in_schema=False)
@router.get("/{id}/copies/{side}/content", response_class=FileResponse)
def content(id: str, side: Side, server: Server, user: User) -> FileResponse:
    """Fetch a copy, or a range of it."""
    job, _ = _original(id, side, server, user)
    path = server.places.playable_copy(job, side)
    if path is None:
        raise _no_copy("it is not ready", id, side)
    return fetched(path, f"{Path(job.name).stem}_{side}{path.suffix}")


def _original(id: str, side: Side, server: Context, user: str) -> tuple[JobRecord, Path]:
    """Return a job that is done, and the file that is copied.

    Raises:
        RefusedError: There is no such job of the user, it is not done, or its input is gone.
    """
    job = server.store.job(id, user)
    result = server.places.output(job)
    known_job(server.store, id, user, result)
    return job, result if side == "result" else source_path(server, job)


def _no_copy(why: str, id: str, side: Side) -> RefusedError:
    next_step = f"ask for it with POST /api/v1/jobs/{id}/copies/{side}, and look until it is ready"
    return RefusedError(409, "no_copy", "there is no such copy", why, next_step)


def _view(status: CopyStatus) -> CopyView:
    return CopyView(state=status.state, fraction=status.fraction, error=status.error)
