"""The server as a process: an application behind uvicorn."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from starvsr.apps.server.application import create_application
from starvsr.apps.server.guard import PatientProtocol
from starvsr.apps.server.settings import ServerSettings
from starvsr.errors import OptionError

_KEEP_ALIVE = 15
_MOST_CONNECTIONS = 1000
_GRACE = 10


def serve(settings: ServerSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it; running jobs go on with the next server.

    Args:
        settings: Of the server.
        on_ready: Called with the address when connections are accepted.

    Raises:
        StarVsrError: A setting cannot be honoured, or the port is taken.
    """
    application = create_application(settings)
    listener = _listener(settings.options.host, settings.options.port)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        application,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
    )
    server = uvicorn.Server(config)
    host = settings.options.host
    on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        why = error.strerror or error
        raise OptionError(
            f"--host {host} --port {port}: cannot listen there ({why}): give another --port, or 0 for a free one"
        ) from None
    return listener
