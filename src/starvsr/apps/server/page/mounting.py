"""Puts the page onto the application of the API, behind its guard and its login."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from starvsr.apps.server.context import Context, remember, user_of
from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.fields import Field, fields_for
from starvsr.evaluation import player

_STATIC = files("starvsr.apps.server.page") / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEAD = (
    '<link rel="icon" href="/page/icon.svg"><link rel="stylesheet" href="/page/player.css">'
    '<link rel="stylesheet" href="/page/page.css"><script src="/page/player.js" defer></script>'
    '<script type="module" src="/page/app.js"></script>'
)


def has_gradio() -> bool:
    """Whether the packages of the page are installed."""
    from importlib.util import find_spec

    return find_spec("gradio") is not None


def mount_page(application: FastAPI, context: Context) -> None:
    """Add the page at ``/``, the files of Gradio's front end, and our own files at ``/page/``."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before it is imported: nothing is told to anyone
    from starvsr.apps.server.page.gate import FILES, Files, document, page

    with ThreadPoolExecutor(1) as apart:
        gradio = apart.submit(asyncio.run, _made_in_a_loop(fields_for(context.models))).result()
    own = _own_files()

    async def index(request: Request) -> Response:
        frames = context.settings.frames
        try:
            user_of(request)
        except RefusedError:
            if not context.login.takes_guests:
                return page(own["login.html"].decode(), secrets.token_urlsafe(16), frames)
            answer = await document(gradio, request, _HEAD, frames)
            remember(answer, context.login.guest_token(), request, context)
            return answer
        return await document(gradio, request, _HEAD, frames)

    async def own_file(name: str) -> Response:
        kind = _TYPES.get(os.path.splitext(name)[1])
        if kind is None or name not in own:
            return gone
        return Response(own[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    why = "there is nothing at this address"
    refusal = RefusedError(404, "not_found", "the request was refused", why, "the page is at /")
    gone = JSONResponse(refusal.as_dict(), 404)
    application.add_api_route("/", index, methods=["GET"], include_in_schema=False)
    application.add_api_route("/page/{name}", own_file, methods=["GET"], include_in_schema=False)
    served = Files(gradio, gone)
    for path in FILES:
        application.add_route(path, served, include_in_schema=False)  # type: ignore[arg-type]


async def _made_in_a_loop(fields: Sequence[Field]) -> FastAPI:
    """Make the Gradio application; where no loop runs, Gradio makes loops of its own and leaves them open."""
    import gradio as gr

    from starvsr.apps.server.page.layout import make_blocks, theme

    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        make_blocks(fields),
        path="/",
        theme=theme(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        allowed_paths=[],
        blocked_paths=["/"],
        show_error=False,
        max_file_size=0,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )


def _own_files() -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in _STATIC.iterdir()}
    return {**found, "player.js": player.script().encode(), "player.css": player.style().encode()}
