"""The server: a queue of jobs that survives restarts, worker processes, an HTTP API, and a page for browsers.

From the bottom up: `settings`, `errors`, `fields` (what a request may ask for), `records` and `store` (what is kept),
`places` (files), `worker`, `preview_frames` and `worker_process` (one process for each device), `checks` (inputs are
looked at before they are queued), `dispatcher` (the queue, with `board`, `device_loop`, `outcomes` and `upkeep`),
`login`, `submitting`, the routes, and `page`, put together by `application`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app(
    data: str | Path = "starvsr-server",
    *,
    folders: Sequence[str | Path] = (),
    password_file: str | Path | None = None,
    **options: Any,
) -> FastAPI:
    """Return the server as an ASGI application, page and API, for uvicorn or a host that starts one itself.

    Give it to one process only: the queue and its workers begin with the application, and hold the folder.

    Args:
        data: Folder for uploads, results and the record of jobs; made when it is not there.
        folders: Folders whose videos and images may be named as inputs.
        password_file: Users and their hashed passwords; None: no login, and all who reach it are one user.
        options: Other flags of `starvsr serve` by name (`starvsr.apps.server.settings.ServerOptions`), such as
            ``devices="cuda:0"`` or ``allowed_hosts="box.lan"``.

    Raises:
        StarVsrError: A setting cannot be honoured.
    """
    from starvsr.apps.server.application import create_application
    from starvsr.apps.server.settings import ServerOptions, ServerSettings

    users = None if password_file is None else Path(password_file)
    paths = tuple(Path(folder) for folder in folders)
    return create_application(ServerSettings(Path(data), paths, users, ServerOptions(**options)))
