"""From a request to a job in the queue: which input it means, and whether there is room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starvsr.apps.server.context import Context
from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.places import CONTAINERS, allowed_file
from starvsr.apps.server.records import JobRecord, Upload
from starvsr.apps.server.store import new_id


@dataclass(frozen=True)
class Source:
    """An input that a user may read.

    Attributes:
        name: What the user calls it.
        path: Where it lies.
        upload: The id of the upload that it is; None for a file below an allowed folder.
    """

    name: str
    path: Path
    upload: str | None = None


def source_of(server: Context, user: str, upload: str | None, path: str | None) -> Source:
    """Return the input that a request names.

    Raises:
        RefusedError: It names both or neither; there is none; it has not come as a whole.
    """
    if (upload is None) == (path is None):
        why = "it names both or neither of upload and path"
        raise RefusedError(422, "wrong_input", "the job was not taken", why, "name one of them")
    if path is not None:
        found = allowed_file(server.settings.roots, path)
        return Source(found.name, found)
    assert upload is not None
    return uploaded(server, server.store.upload(upload, user))


def uploaded(server: Context, upload: Upload) -> Source:
    """Return an upload as an input.

    Raises:
        RefusedError: It has not come as a whole.
    """
    have = server.places.received(upload)
    if have < upload.size:
        raise not_complete(upload, have)
    return Source(upload.name, server.places.upload(upload), upload.id)


def not_complete(upload: Upload, have: int) -> RefusedError:
    """Return the refusal of what needs a whole upload."""
    why = f"{have} of {upload.size} bytes have come"
    return RefusedError(409, "not_complete", "the upload is not complete", why, f"send on from {have}")


def new_job(
    user: str, source: Source, container: str, options: dict[str, Any], preview: dict[str, Any] | None = None
) -> JobRecord:
    """Return a job that is not recorded yet."""
    assert f".{container}" in CONTAINERS
    path = str(source.path)
    return JobRecord(
        new_id(), user, source.name, source.upload, path, f".{container}", options, preview=dict(preview or {})
    )


def source_path(server: Context, job: JobRecord) -> Path:
    """Return the file that a job reads, if its user may still read it.

    Raises:
        RefusedError: It was removed, or the operator no longer allows its folder.
    """
    path = Path(job.source)
    if job.upload is None:
        allowed = any(path.is_relative_to(root) for root in server.settings.roots.values())
        there = allowed and path.resolve() == path and path.is_file()
    else:
        there = path.is_file()
    if not there:
        raise RefusedError(
            404, "no_such_file", "the input cannot be read", "it was removed, or expired", "the result is still there"
        )
    return path
