"""What of Gradio is served: its page, its style sheet and the files of its front end; nothing that takes or gives data.

Gradio's server half has endpoints for uploads, files of the host, proxies, queues and calls. The page uses none of
them, so none is reachable: requests are let through by a short list, without query, cookies or credentials.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILES = ("/theme.css", "/assets/{path:path}", "/static/{path:path}")
_FILE = re.compile(r"/theme\.css|/(assets|static)/[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_KEPT = (b"host", b"accept", b"if-none-match", b"if-modified-since", b"accept-encoding")
_METAS = re.compile(r"<meta\s+(property|name)=\"(og|twitter):[^>]*>\s*")
_MANIFEST = re.compile(r'<link rel="manifest"[^>]*>')


class Files:
    """The files of Gradio's front end, as an ASGI application.

    Args:
        app: The Gradio application.
        gone: Answers what is not let through.
    """

    def __init__(self, app: ASGIApp, gone: Response) -> None:
        self._app, self._gone = app, gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer that there is nothing."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not _FILE.fullmatch(scope["path"]):
            await self._gone(scope, receive, send)
            return
        await self._app(_stripped(scope, scope["path"]), _no_body(), send)


async def document(app: ASGIApp, request: Request, head: str, frames: Sequence[str]) -> Response:
    """Return Gradio's page with our head, and with a policy under which it runs the scripts of this server alone.

    Args:
        app: The Gradio application.
        request: For the page.
        head: HTML for the end of its head.
        frames: Sites that may show it in a frame.
    """
    scope = _stripped(dict(request.scope), "/")
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
    body = bytearray()
    status = 500

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, _no_body(), send)
    assert status == 200, status
    nonce = secrets.token_urlsafe(16)
    text = _MANIFEST.sub("", _METAS.sub("", body.decode()))
    text = text.replace("</head>", f"{head}</head>", 1)
    return page(text, nonce, frames)


def page(text: str, nonce: str, frames: Sequence[str] = ()) -> Response:
    """Return HTML whose script elements are allowed to run, and no others."""
    allowed = " ".join(["'self'", *frames])
    policy = (
        "default-src 'none'; base-uri 'self'; connect-src 'self'; font-src 'self' data:; form-action 'self'; "
        f"frame-ancestors {allowed}; img-src 'self' data: blob:; media-src 'self' blob:; "
        f"script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; worker-src 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(text.replace("<script", f'<script nonce="{nonce}"'), headers=headers)


def _stripped(scope: Scope, path: str) -> Scope:
    """Return a plain request for a path: nothing of a user's reaches Gradio."""
    kept = [(name, value) for name, value in scope["headers"] if name in _KEPT]
    own = {"type", "asgi", "http_version", "method", "scheme", "client", "server"}
    fresh = {name: value for name, value in scope.items() if name in own}
    return {**fresh, "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": kept}


def _no_body() -> Receive:
    """Return the receiving end of a request without a body, whose sender stays."""
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive
