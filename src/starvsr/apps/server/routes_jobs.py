"""Jobs: submitted, watched, paused, cancelled; their results fetched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from starvsr.apps.server.context import Context, Server, User
from starvsr.apps.server.dispatcher import known_job
from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.fields import checked_options
from starvsr.apps.server.places import result_name
from starvsr.apps.server.records import UNFINISHED, JobRecord
from starvsr.apps.server.routes_uploads import fetched, new_upload
from starvsr.apps.server.submitting import new_job, not_complete, source_of, source_path, uploaded
from starvsr.apps.server.views import Container, JobRequest, JobView, job_view

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
_WATCH_EVERY, _BEAT_EVERY = 0.5, 15.0


@router.post("", status_code=201)
def submit(body: JobRequest, server: Server, user: User, response: Response) -> JobView:
    """Queue a job on an upload, or on a file below an allowed folder."""
    options = checked_options(body.options, server.models)
    source = source_of(server, user, body.upload, body.path)
    return queued(server, new_job(user, source, body.container, options), response)


@router.post("/file", status_code=201)
async def submit_file(
    request: Request, server: Server, user: User, response: Response, name: str = "video", container: Container = "mp4"
) -> JobView:
    """Queue a job on the file in the body, whose size the header Content-Length tells; options are in the query.

    For large files over bad lines, announce an upload in place of this: it can be resumed.
    """
    own = ("name", "container")
    given = {key: value for key, value in request.query_params.items() if key not in own}
    options = checked_options(_typed(given), server.models)
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) < 1:
        raise RefusedError(411, "no_length", "the file was refused", "its length is not told", "send Content-Length")
    upload = new_upload(server, user, name, int(length))
    path = server.places.upload(upload)
    try:
        have = await server.receiver.append(path, 0, upload.size, request.stream().__aiter__())
        if have < upload.size:
            raise not_complete(upload, have)
        return queued(server, new_job(user, uploaded(server, upload), container, options), response)
    except BaseException:
        path.unlink(missing_ok=True)
        server.store.remove_upload(upload.id)
        raise


def _typed(values: dict[str, str]) -> dict[str, Any]:
    """Turn words of a query into flags; numbers are read by the options themselves."""
    return {name: {"true": True, "false": False}.get(value, value) for name, value in values.items()}


def queued(server: Context, job: JobRecord, response: Response) -> JobView:
    """Put a job into the queue, and return it as it is shown."""
    server.dispatcher.submit(job)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return _view(server, server.store.job(job.id, job.user))


@router.get("")
def jobs(server: Server, user: User) -> list[JobView]:
    """List the jobs and previews, oldest first."""
    done = server.store.jobs(states=("done",))
    return [_view(server, job, done) for job in server.store.jobs(user)]


@router.get("/{id}")
def look(id: str, server: Server, user: User) -> JobView:
    """Tell where a job is."""
    return _view(server, server.store.job(id, user))


@router.get("/{id}/events", response_class=StreamingResponse)
async def events(id: str, request: Request, server: Server, user: User) -> StreamingResponse:
    """Watch a job: server-sent events `job`, each the job as JSON, whenever it changes; they end with the job."""
    server.store.job(id, user)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(id, request, server, user), media_type="text/event-stream", headers=headers)


async def _events(id: str, request: Request, server: Context, user: str) -> AsyncIterator[str]:
    last, silent = "", 0.0
    while not await request.is_disconnected():
        try:
            view = _view(server, server.store.job(id, user))
        except RefusedError:
            yield "event: gone\ndata: {}\n\n"
            return
        text = json.dumps(view.model_dump())
        silent += _WATCH_EVERY
        if text != last:
            yield f"event: job\ndata: {text}\n\n"
            last, silent = text, 0.0
        elif silent >= _BEAT_EVERY:
            yield ": still here\n\n"
            silent = 0.0
        if view.state not in UNFINISHED:
            return
        await asyncio.sleep(_WATCH_EVERY)


@router.post("/{id}/pause")
def pause(id: str, server: Server, user: User) -> JobView:
    """Stop a job and keep what is finished."""
    server.dispatcher.pause(id, user)
    return _view(server, server.store.job(id, user))


@router.post("/{id}/resume")
def resume(id: str, server: Server, user: User) -> JobView:
    """Go on with a paused job, or try one again that failed."""
    server.dispatcher.resume(id, user)
    return _view(server, server.store.job(id, user))


@router.post("/{id}/cancel")
def cancel(id: str, server: Server, user: User) -> JobView:
    """Stop a job and drop what is finished."""
    server.dispatcher.cancel(id, user)
    return _view(server, server.store.job(id, user))


@router.delete("/{id}", status_code=204)
def remove(id: str, server: Server, user: User) -> None:
    """Remove a job and its result; one that runs is stopped first."""
    server.dispatcher.delete(id, user)


@router.head("/{id}/result", include_in_schema=False)
@router.get("/{id}/result", response_class=FileResponse)
def result(id: str, server: Server, user: User) -> FileResponse:
    """Fetch the result, or a range of it."""
    path = server.places.output(server.store.job(id, user))
    job = known_job(server.store, id, user, path)
    return fetched(path, result_name(job))


@router.head("/{id}/source", include_in_schema=False)
@router.get("/{id}/source", response_class=FileResponse)
def source(id: str, server: Server, user: User) -> FileResponse:
    """Fetch the input of a job, or a range of it, for a player beside the result."""
    job = server.store.job(id, user)
    return fetched(source_path(server, job), job.name)


def _view(server: Context, job: JobRecord, done: list[JobRecord] | None = None) -> JobView:
    if done is None:
        done = [] if job.is_finished else server.store.jobs(states=("done",))
    return job_view(job, server.dispatcher, float(server.settings.options.expire), done)
