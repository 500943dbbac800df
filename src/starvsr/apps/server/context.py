"""What the routes share, and how they find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from starvsr.apps.server.copies import Copies
from starvsr.apps.server.dispatcher import Dispatcher
from starvsr.apps.server.login import COOKIE, TOKEN_SECONDS, Login
from starvsr.apps.server.places import Places
from starvsr.apps.server.receiving import Receiver
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.jobs.lock import JobLock


@dataclass(frozen=True)
class Context:
    """The parts of a running server."""

    settings: ServerSettings
    places: Places
    store: Store
    dispatcher: Dispatcher
    copies: Copies
    login: Login
    receiver: Receiver
    models: tuple[str, ...]
    lock: JobLock


def context_of(request: Request) -> Context:
    """Return the server that a request came to."""
    context: Context = request.app.state.context
    return context


def user_of(request: Request) -> str:
    """Return who sends a request.

    Raises:
        RefusedError: There is a login, and the request has no valid token.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else request.cookies.get(COOKIE)
    return context_of(request).login.user(given)


def remember(response: Response, token: str, request: Request, server: Context) -> None:
    """Have a browser keep a token. In a frame of another site it needs a cookie that such frames may have."""
    framed = bool(server.settings.frames)
    words = [f"{COOKIE}={token}", "Path=/", f"Max-Age={TOKEN_SECONDS}", "HttpOnly"]
    words.append("SameSite=None; Secure; Partitioned" if framed else "SameSite=strict")
    if request.url.scheme == "https" and not framed:
        words.append("Secure")
    response.headers.append("set-cookie", "; ".join(words))


Server = Annotated[Context, Depends(context_of)]
User = Annotated[str, Depends(user_of)]
