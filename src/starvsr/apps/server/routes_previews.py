"""Before a job: what its input is, what it would take, and a look at a few frames."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from starvsr.apps.server.checks import check_job
from starvsr.apps.server.context import Server, User
from starvsr.apps.server.errors import RefusedError, queue_full
from starvsr.apps.server.estimates import estimated_seconds
from starvsr.apps.server.fields import checked_options
from starvsr.apps.server.routes_jobs import queued
from starvsr.apps.server.routes_uploads import fetched
from starvsr.apps.server.submitting import new_job, source_of
from starvsr.apps.server.views import EstimateView, JobRequest, JobView, PreviewRequest
from starvsr.errors import StarVsrError

router = APIRouter(prefix="/api/v1", tags=["previews"])
_CHECKS = threading.BoundedSemaphore(2)
_PATIENCE = 10.0


@router.post("/estimates")
def estimate(body: JobRequest, server: Server, user: User) -> EstimateView:
    """Tell the facts of an input, and the size, disk and time of a job on it; nothing is queued."""
    options = checked_options(body.options, server.models)
    job = new_job(user, source_of(server, user, body.upload, body.path), body.container, options)
    if not _CHECKS.acquire(timeout=_PATIENCE):
        raise queue_full("several inputs are looked at already", 10)
    try:
        found = check_job(job, server.places.output(job), server.settings)
    except (StarVsrError, OSError) as error:
        why = server.places.told(" ".join(str(error).split()), job)
        raise RefusedError(422, "wrong_input", "no such job can be done", why, "change the input or options") from None
    finally:
        _CHECKS.release()
    return EstimateView(
        facts=found.facts,
        width=found.size[0],
        height=found.size[1],
        container=found.container.removeprefix("."),
        num_bytes=found.num_bytes,
        free_bytes=server.dispatcher.free_disk(user),
        estimated_seconds=estimated_seconds(replace(job, facts=found.facts), server.store.jobs(states=("done",))),
    )


@router.post("/previews", status_code=201)
def preview(body: PreviewRequest, server: Server, user: User, response: Response) -> JobView:
    """Queue a look at a few frames or seconds, before other jobs; `GET /api/v1/jobs/ID` tells when it is done."""
    options = checked_options(body.options, server.models)
    source = source_of(server, user, body.upload, body.path)
    amount = {"count": body.count} if body.seconds is None else {"seconds": body.seconds}
    look = {"at": body.at, **amount}
    return queued(server, new_job(user, source, body.container, options, look), response)


@router.get("/jobs/{id}/frames/{index}/{side}", response_class=FileResponse)
def frame(id: str, index: int, side: Literal["before", "after"], server: Server, user: User) -> FileResponse:
    """Fetch a frame of a finished preview as PNG: the plain enlargement (before), or the result (after)."""
    job = server.store.job(id, user)
    path = server.places.preview_frame(job, index, side)
    if not job.is_preview or job.state != "done" or not path.is_file():
        what, next_step = "there is no such frame", "look at the preview's state, and at result.times"
        raise RefusedError(404, "no_such_frame", what, f"the job is {job.state}", next_step)
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.head("/jobs/{id}/clips/{side}", include_in_schema=False)
@router.get("/jobs/{id}/clips/{side}", response_class=FileResponse)
def clip(id: str, side: Literal["before", "after"], server: Server, user: User) -> FileResponse:
    """Fetch a video of a finished preview of some seconds, or a range of it: one that browsers play."""
    job = server.store.job(id, user)
    path = server.places.preview_clip(job, side)
    if not job.is_preview or job.state != "done" or not path.is_file():
        what, next_step = "there is no such video", "look at the preview's state, and whether it asked for seconds"
        raise RefusedError(404, "no_such_clip", what, f"the job is {job.state}", next_step)
    return fetched(path, path.name)
