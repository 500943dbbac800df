"""What the server offers, the files below allowed folders, and the login."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from starvsr.apps.server.context import Server, User, remember
from starvsr.apps.server.fields import fields_for
from starvsr.apps.server.login import COOKIE, LOCAL_USER
from starvsr.apps.server.places import allowed_files
from starvsr.apps.server.records import WAITING
from starvsr.apps.server.views import FieldView, LoginRequest, LoginView, ModelView, ServerView, field_view
from starvsr.families.registry import get_entry
from starvsr.version import __version__

router = APIRouter(prefix="/api/v1", tags=["server"])


@router.get("/server")
def about(server: Server, user: User) -> ServerView:
    """Tell the version, the models, the limits and how full the queue is."""
    options = server.settings.options
    entries = [get_entry(name) for name in server.models]
    return ServerView(
        version=__version__,
        user=user,
        login=server.login.is_needed,
        models=[ModelView(name=e.name, summary=e.summary, scale=e.scale, licence=e.licence) for e in entries],
        limits={
            "max_upload": options.max_upload,
            "max_input_pixels": options.max_input_pixels,
            "max_output_pixels": options.max_output_pixels,
            "max_length": float(options.max_length),
            "max_jobs_per_user": options.max_jobs_per_user,
            "expire": float(options.expire),
        },
        queue={"waiting": len(server.store.jobs(states=WAITING)), "most": options.max_jobs},
    )


@router.get("/options")
def options(server: Server, user: User) -> list[FieldView]:
    """List the options of a job, each with its help, kind, range and the models that honour it."""
    return [field_view(field) for field in fields_for(server.models)]


@router.get("/files")
def files(server: Server, user: User) -> list[str]:
    """List the videos and images below the folders that the operator allowed, two thousand at most."""
    return list(allowed_files(server.settings.roots))


@router.post("/login")
def login(body: LoginRequest, request: Request, response: Response, server: Server) -> LoginView:
    """Get a token for a name and a password; where guests are taken, for any."""
    if server.login.takes_guests:
        token = server.login.guest_token()
    elif not server.login.is_needed:
        return LoginView(token="", user=LOCAL_USER)
    else:
        address = request.client.host if request.client else ""
        token = server.login.token(body.name, body.password, address)
    remember(response, token, request, server)
    return LoginView(token=token, user=server.login.user(token))


@router.post("/logout", status_code=204)
def logout(response: Response) -> None:
    """Have the browser forget its token."""
    response.delete_cookie(COOKIE)
