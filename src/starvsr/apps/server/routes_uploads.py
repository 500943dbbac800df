"""Uploads: announced, sent in pieces of any size from an offset on (as in tus), resumed after a lost connection."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from starvsr.apps.server.context import Context, Server, User
from starvsr.apps.server.errors import RefusedError, queue_full, too_large
from starvsr.apps.server.places import shown_name, suffix_of
from starvsr.apps.server.records import Upload
from starvsr.apps.server.store import new_id
from starvsr.apps.server.submitting import uploaded
from starvsr.apps.server.views import UploadRequest, UploadView, upload_view
from starvsr.quantities import format_size

router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])
_PIECE_TYPE = "application/offset+octet-stream"


@router.post("", status_code=201)
def announce(body: UploadRequest, server: Server, user: User, response: Response) -> UploadView:
    """Announce a file; its bytes are sent to the Location of the answer."""
    upload = new_upload(server, user, body.name, body.size)
    response.headers["Location"] = f"/api/v1/uploads/{upload.id}"
    return upload_view(upload, server.places)


@router.get("")
def uploads(server: Server, user: User) -> list[UploadView]:
    """List the uploads."""
    return [upload_view(upload, server.places) for upload in server.store.uploads(user)]


@router.head("/{id}", include_in_schema=False)
@router.get("/{id}")
def look(id: str, server: Server, user: User, response: Response) -> UploadView:
    """Tell how many bytes have come: an interrupted upload goes on from there."""
    view = upload_view(server.store.upload(id, user), server.places)
    response.headers.update(_progress(view.offset, view.size))
    return view


@router.patch("/{id}", status_code=204)
async def send(id: str, request: Request, server: Server, user: User) -> Response:
    """Send bytes, in the body, from the offset on that the header `Upload-Offset` names."""
    upload = server.store.upload(id, user)
    have = server.places.received(upload)
    if request.headers.get("content-type", "").partition(";")[0].strip() != _PIECE_TYPE:
        raise RefusedError(
            415,
            "wrong_type",
            "the piece was refused",
            "its type is another",
            f"send it with Content-Type: {_PIECE_TYPE}",
        )
    if request.headers.get("upload-offset") != str(have):
        raise RefusedError(
            409,
            "wrong_offset",
            "the piece was refused",
            f"{have} bytes have come, and Upload-Offset names another place",
            f"send on from {have}",
            _progress(have, upload.size),
        )
    path = server.places.upload(upload)
    have = await server.receiver.append(path, have, upload.size, request.stream().__aiter__())
    return Response(status_code=204, headers=_progress(have, upload.size))


@router.head("/{id}/content", include_in_schema=False)
@router.get("/{id}/content", response_class=FileResponse)
def content(id: str, server: Server, user: User) -> FileResponse:
    """Fetch an upload, or a range of it, for a player beside the result."""
    upload = server.store.upload(id, user)
    source = uploaded(server, upload)
    return fetched(source.path, source.name)


@router.delete("/{id}", status_code=204)
def remove(id: str, server: Server, user: User) -> None:
    """Remove an upload that no unfinished job reads."""
    upload = server.store.upload(id, user)
    if server.store.is_used(upload.id):
        raise RefusedError(
            409, "in_use", "the upload stays", "an unfinished job reads it", "cancel or delete the job first"
        )
    server.places.upload(upload).unlink(missing_ok=True)
    server.store.remove_upload(upload.id)


def new_upload(server: Context, user: str, name: str, size: int) -> Upload:
    """Record an upload.

    Raises:
        RefusedError: It is too large, or there are too many.
    """
    options = server.settings.options
    if size > options.max_upload:
        raise too_large(
            "the upload",
            f"it has {size} bytes, more than the {options.max_upload} ({format_size(options.max_upload)}) allowed here",
        )
    with server.store.locked():
        mine = server.store.uploads(user)
        if sum(server.places.received(one) < one.size for one in mine) >= options.max_jobs_per_user:
            raise queue_full("as many uploads as are allowed are not complete yet", server.dispatcher.retry_after())
        server.dispatcher.need_disk(size, user)
        shown = shown_name(name)
        upload = Upload(new_id(), user, shown, suffix_of(shown), size)
        server.store.add_upload(upload)
    return upload


def fetched(path: object, name: str) -> FileResponse:
    """Return a file of a user: to be saved, or played by a page of ours, but never shown as a page itself."""
    return FileResponse(
        str(path), filename=name, headers={"Content-Security-Policy": "sandbox", "Cache-Control": "private, no-store"}
    )


def _progress(offset: int, size: int) -> dict[str, str]:
    return {"Upload-Offset": str(offset), "Upload-Length": str(size), "Cache-Control": "no-store"}
