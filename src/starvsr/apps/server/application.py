"""The application: routes, guard, errors, and what starts and ends with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from starvsr.apps.server import routes_copies, routes_jobs, routes_previews, routes_server, routes_uploads
from starvsr.apps.server.context import Context
from starvsr.apps.server.copies import Copies
from starvsr.apps.server.dispatcher import Dispatcher
from starvsr.apps.server.errors import RefusedError
from starvsr.apps.server.fields import offered_models
from starvsr.apps.server.guard import Guard
from starvsr.apps.server.login import Login, read_users, secret_key
from starvsr.apps.server.page.mounting import has_gradio, mount_page
from starvsr.apps.server.places import Places
from starvsr.apps.server.receiving import Receiver
from starvsr.apps.server.settings import ServerSettings
from starvsr.apps.server.store import Store
from starvsr.apps.server.views import ErrorView
from starvsr.errors import JobError, OptionError
from starvsr.jobs.lock import JobLock
from starvsr.version import __version__

_LOG = logging.getLogger("starvsr.server")
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorView} for status in (401, 403, 404, 409, 413, 422, 429, 507)
}


def create_application(settings: ServerSettings) -> FastAPI:
    """Make the application; the queue begins to work when it is started.

    Raises:
        StarVsrError: A setting cannot be honoured.
    """
    context = _context(settings)

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        context.dispatcher.start()
        try:
            yield
        finally:
            context.copies.close()
            context.dispatcher.close()
            context.store.close()
            context.lock.release()

    application = FastAPI(
        title="starvsr",
        version=__version__,
        description="Submit a video, watch the job, fetch the result. Errors say what, why, and what next.",
        lifespan=lifespan,
        docs_url=None,  # its page would fetch programs from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        responses=_ERRORS,
    )
    application.state.context = context
    for routes in (routes_server, routes_uploads, routes_jobs, routes_copies, routes_previews):
        application.include_router(routes.router)
    if settings.options.page and has_gradio():
        mount_page(application, context)
    application.add_exception_handler(RefusedError, _refused)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(Exception, _unexpected)
    files = [("PATCH", "/api/v1/uploads/"), ("POST", "/api/v1/jobs/file")]
    application.add_middleware(Guard, hosts=settings.hosts, files=files)
    return application


def _context(settings: ServerSettings) -> Context:
    from starvsr.families.devices import choose_device

    models = offered_models(settings.options.models)
    if not models:
        raise OptionError("no model is here: fetch one (`starvsr models fetch`), or name some with --models")
    devices = tuple(word.strip() for word in settings.options.devices.split(","))
    for device in devices:
        choose_device(device)
    users = None if settings.password_file is None else read_users(settings.password_file)
    try:
        places = Places(settings.data)
        lock = JobLock(places.data / "lock")
    except JobError:
        raise OptionError(f"--data {settings.data}: another server uses this folder: choose another one") from None
    except OSError as error:
        raise OptionError(f"--data {settings.data} cannot be used ({error.strerror}): choose another folder") from None
    store = Store(places.records)
    dispatcher = Dispatcher(store, places, settings, devices)
    return Context(
        settings=settings,
        places=places,
        store=store,
        dispatcher=dispatcher,
        copies=Copies(store, places, dispatcher, settings),
        login=Login(users, secret_key(places.data / "key"), guests=settings.options.guests),
        receiver=Receiver(float(settings.options.max_stall)),
        lock=lock,
        models=models,
    )


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return JSONResponse(error.as_dict(), error.status, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(word) for word in first["loc"][1:]) or "the body"
    return _answer(
        422, "wrong_request", "the request was refused", f"{place}: {first['msg']}", "see /api/v1/openapi.json"
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _answer(405, "wrong_method", "the request was refused", "this address takes other methods", _WHERE)
    why = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    code = "not_found" if error.status_code == 404 else "wrong_request"
    return _answer(error.status_code, code, "the request was refused", why, _WHERE)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, "unexpected", "the request failed", f"unexpected {type(error).__name__}", "please report it")


_WHERE = "/api/v1/openapi.json lists what there is"


def _answer(status: int, code: str, what: str, why: str, next_step: str) -> JSONResponse:
    return JSONResponse(RefusedError(status, code, what, why, next_step).as_dict(), status)
