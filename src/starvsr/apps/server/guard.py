"""What is refused before a request reaches a route: foreign hosts and origins, large bodies, slow headers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from starvsr.apps.server.errors import RefusedError, too_large

LARGEST_BODY = 256 << 10
HEADER_SECONDS = 20.0
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}


class Guard:
    """Middleware around the application.

    Against rebinding of DNS names, the Host header must be an address or a name that the operator allowed. Against
    requests forged by other sites, a request that changes something and that a browser sent must come from a page of
    this server. Bodies are small, but for the routes that take files, which count themselves.

    Args:
        app: The application.
        hosts: Names under which the server may be addressed.
        files: Beginnings of paths that take files.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], files: Sequence[tuple[str, str]]) -> None:
        self._app, self._hosts, self._files = app, {host.lower() for host in hosts}, tuple(files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        try:
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            self._refuse_foreign(scope["method"], headers)
            if not self._takes_files(scope):
                _refuse_large(headers)
            await self._app(scope, receive, send_with_headers)
        except RefusedError as error:
            answer = JSONResponse(error.as_dict(), error.status, error.headers)
            await answer(scope, receive, send_with_headers)

    def _takes_files(self, scope: Scope) -> bool:
        kind = dict(scope["headers"]).get(b"content-type", b"")
        return not kind.startswith(b"application/json") and any(
            scope["method"] == method and scope["path"].startswith(path) for method, path in self._files
        )

    def _refuse_foreign(self, method: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        name = _name_of(f"//{host}")
        if name not in self._hosts and not _is_address(name):
            raise RefusedError(
                403,
                "wrong_host",
                "the request was refused",
                "the server is not known under this name",
                "the operator may allow it with --allowed-hosts",
            )
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if method not in _SAFE and (foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site")):
            raise RefusedError(
                403,
                "foreign_origin",
                "the request was refused",
                "a page of another site sent it",
                "use the server's own page, or a program",
            )


def _name_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Whether a host is named by its address, which no DNS server can lead elsewhere."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _refuse_large(headers: dict[str, str]) -> None:
    """Refuse a body that is large, or whose length is not told."""
    if "transfer-encoding" in headers:
        raise RefusedError(
            411, "no_length", "the request was refused", "the length of its body is not told", "send Content-Length"
        )
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        raise too_large("the request", f"its body has more than {LARGEST_BODY} bytes")


class PatientProtocol(H11Protocol):
    """HTTP that closes connections whose first request does not come in time (slowloris)."""

    def connection_made(self, transport: Any) -> None:
        """Begin to count."""
        self._timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._count()

    def data_received(self, data: bytes) -> None:
        """Count again where the headers are not complete yet."""
        super().data_received(data)
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def _is_silent(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _count(self) -> None:
        """Begin where no request is under way; headers that trickle in do not begin anew."""
        if not self._is_silent:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        self._timer = None
        if self._is_silent and not self.transport.is_closing():
            self.transport.close()
