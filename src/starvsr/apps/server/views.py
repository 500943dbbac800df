"""What goes over the wire: bodies of requests and answers, as the OpenAPI document describes them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Described

from starvsr.apps.server.copies import CopyState
from starvsr.apps.server.dispatcher import Dispatcher
from starvsr.apps.server.estimates import estimated_seconds
from starvsr.apps.server.fields import Field
from starvsr.apps.server.places import CONTAINERS, Places, result_name
from starvsr.apps.server.records import JobRecord, State, Upload

Container = Literal["mp4", "mov", "mkv", "webm", "gif", "webp", "png", "jpg", "tif"]
assert tuple(f".{word}" for word in Container.__args__) == CONTAINERS  # type: ignore[attr-defined]


class Strict(BaseModel):
    """A body that may hold nothing else."""

    model_config = ConfigDict(extra="forbid")


class LoginRequest(Strict):
    """A user and their password."""

    name: str = Described(max_length=64)
    password: str = Described(max_length=1024)


class LoginView(BaseModel):
    """A token, for `Authorization: Bearer TOKEN`; browsers get it as a cookie, too."""

    token: str
    user: str


class UploadRequest(Strict):
    """A file that is going to be sent."""

    name: str = Described("video", max_length=1000, description="What it is called; shown, and never used as a path.")
    size: int = Described(gt=0, description="Bytes in all.")


class JobRequest(Strict):
    """A job: an upload, or a file below an allowed folder, and options."""

    upload: str | None = Described(None, description="Id of an upload that is complete.")
    path: str | None = Described(None, max_length=4096, description="FOLDER/FILE, as GET /api/v1/files lists it.")
    options: dict[str, Any] = Described(default_factory=dict, description="By name, as GET /api/v1/options tells.")
    container: Container = Described("mp4", description="Of the result. An image that is asked for as mp4 becomes png.")


class PreviewRequest(JobRequest):
    """A look at a few frames of a job, or at a few seconds of it."""

    at: float = Described(0.0, ge=0, description="Seconds from the start of the input.")
    count: int = Described(3, ge=1, le=8, description="Frames, as pictures; of no use beside `seconds`.")
    seconds: float | None = Described(
        None, gt=0, le=10, description="As two videos of so many seconds, before and after, in place of pictures."
    )


class CopyView(BaseModel):
    """A copy that browsers play."""

    state: CopyState
    fraction: float | None = Described(description="0 to 1, while it is made and as far as it is known.")
    error: str | None = Described(description="Why it failed.")


class EstimateView(BaseModel):
    """What a job would be, and take."""

    facts: dict[str, Any] = Described(description="Of the input.")
    width: int = Described(description="Of the result.")
    height: int
    container: str
    num_bytes: int = Described(description="Of the result, roughly; twice that until it is whole.")
    free_bytes: int = Described(description="That your files may still take here.")
    estimated_seconds: float | None = Described(description="Of a worker, from jobs and previews done before.")


class UploadView(BaseModel):
    """An upload."""

    id: str
    name: str
    size: int
    offset: int = Described(description="Bytes that have come.")
    created: float = Described(description="Seconds since the epoch.")


class ProgressView(BaseModel):
    """How far a running job is."""

    stage: str = Described(description="checking, planning, upscaling, joining or done.")
    num_done: int
    num_frames: int | None
    num_kept: int = Described(description="Frames that an earlier run had finished.")
    fraction: float | None = Described(description="0 to 1.")
    frames_per_second: float
    seconds_left: float | None


class JobView(BaseModel):
    """A job."""

    id: str
    name: str
    state: State
    is_stopping: bool = Described(description="It was asked to pause or stop, and will in a moment.")
    position: int | None = Described(description="Jobs before it in the queue.")
    created: float
    started: float | None
    finished: float | None
    expires: float | None = Described(description="When its result is removed, in seconds since the epoch.")
    estimated_seconds: float | None = Described(
        description="Of a worker, from jobs done before: a short preview with the same options tells it best."
    )
    progress: ProgressView | None
    facts: dict[str, Any] = Described(description="Of the input, once it was looked at.")
    options: dict[str, Any]
    result: dict[str, Any] = Described(
        description="Size, frames, seconds, bytes and file name, as far as they are known."
    )
    notes: list[str]
    error: str | None = Described(description="Why it failed: what, why and what next.")
    upload: str | None
    preview: dict[str, Any] | None = Described(
        description="Of a look before the work: `at`, and `count` (pictures) or `seconds` (videos); the times of its "
        "frames, whether `detail` can be shown by blending, and the time and memory for the whole are in `result`."
    )


class FieldView(BaseModel):
    """A field of the form, made from an option."""

    name: str
    help: str
    group: str
    kind: str
    default: Any
    unit: str | None
    choices: list[str]
    minimum: float | None
    maximum: float | None
    models: list[str] | None = Described(description="Models that honour it; null: all.")


class ModelView(BaseModel):
    """A model."""

    name: str
    summary: str
    scale: int
    licence: str


class ServerView(BaseModel):
    """What the server is and allows."""

    version: str
    user: str
    login: bool = Described(description="Whether there is a login.")
    models: list[ModelView]
    limits: dict[str, float]
    queue: dict[str, int] = Described(description="Jobs waiting and running, of all users, and the most allowed.")


class ErrorDetail(BaseModel):
    """A refusal."""

    code: str = Described(description="A word for programs.")
    what: str
    why: str
    next: str


class ErrorView(BaseModel):
    """The body of every answer of status 400 and above."""

    error: ErrorDetail


def upload_view(upload: Upload, places: Places) -> UploadView:
    """Return an upload as it is shown."""
    return UploadView(
        id=upload.id, name=upload.name, size=upload.size, offset=places.received(upload), created=upload.created
    )


def job_view(job: JobRecord, dispatcher: Dispatcher, expire: float, done: list[JobRecord]) -> JobView:
    """Return a job as it is shown."""
    told = dispatcher.progress(job.id) if job.state == "running" else {}
    result = {**job.result, "name": result_name(job)}
    return JobView(
        id=job.id,
        name=job.name,
        state=job.state,
        is_stopping=dispatcher.is_stopping(job.id),
        position=dispatcher.position(job.id),
        created=job.created,
        started=job.started,
        finished=job.finished,
        expires=None if job.finished is None else job.finished + expire,
        estimated_seconds=None if job.is_finished else estimated_seconds(job, done),
        progress=_progress(told) if told else None,
        facts=job.facts,
        options=job.options,
        result=result,
        notes=job.notes,
        error=job.message,
        upload=job.upload,
        preview=job.preview or None,
    )


def _progress(told: dict[str, Any]) -> ProgressView:
    total = told["num_frames"]
    fraction = None if not total else min(1.0, (told["num_done"] + told["fraction"]) / total)
    return ProgressView(
        stage=told["stage"],
        num_done=told["num_done"],
        num_frames=total,
        num_kept=told["num_kept"],
        fraction=fraction,
        frames_per_second=told["frames_per_second"],
        seconds_left=told["seconds_left"],
    )


def field_view(field: Field) -> FieldView:
    """Return a field as it is shown."""
    return FieldView(**dataclasses.asdict(field))
