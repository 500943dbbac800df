"""`starvsr serve`: the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from starvsr.apps.cli.exit_codes import Stopped
from starvsr.apps.cli.flags import Function, GroupedCommand, GroupedOption, flag_of
from starvsr.apps.cli.terminal import remark, say
from starvsr.apps.server.settings import ServerOptions, ServerSettings
from starvsr.errors import OptionError
from starvsr.options.job import described

_EXAMPLES = (
    ("starvsr serve", "open http://127.0.0.1:7860 in a browser; this machine alone reaches it"),
    ("starvsr serve --folder /media/films", "files there may be named as inputs"),
    ("starvsr serve --password-file users --set-password ada", "adds a user, asks for the password, and ends"),
    ("starvsr serve --host 0.0.0.0 --password-file users --allowed-hosts box.lan", "for others, with a login"),
)


def _flags(function: Function) -> Function:
    for name, default, info in reversed(list(described(ServerOptions))):
        function = flag_of(name, info, default)(function)
    return function


def _serve(settings: ServerSettings) -> None:
    try:
        from starvsr.apps.server.page.mounting import has_gradio
        from starvsr.apps.server.serving import serve as run
    except ModuleNotFoundError as error:
        raise OptionError(
            f"the server needs {error.name}, which is not installed: pip install 'starvsr[page]', or 'starvsr[server]' "
            "for the API alone"
        ) from None

    def ready(address: str) -> None:
        say(f"{address}: {_what_is_there(settings, has_gradio())} Ctrl-C ends it, and jobs go on with the next start")

    try:
        run(settings, ready)
    except (Stopped, KeyboardInterrupt):  # by now the queue is closed
        remark("stopped: jobs go on with the next start")


def _what_is_there(settings: ServerSettings, has_gradio: bool) -> str:
    """Say what can be opened there; one line, which begins with the address for programs."""
    if not settings.options.page:
        return "the API alone, at /api/v1."
    if not has_gradio:
        return "the API, at /api/v1; pip install 'starvsr[page]' adds a page for browsers."
    return "open it in a browser; the API is at /api/v1."


@click.command(cls=GroupedCommand, examples=_EXAMPLES, short_help="Serve a page and an HTTP API with a queue of jobs.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("starvsr-server"),
    cls=GroupedOption,
    group="Work",
    help="Folder for uploads, results and the record of jobs (default: starvsr-server).",
)
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    cls=GroupedOption,
    group="Access",
    help="Folder whose videos and images users may name as inputs; can be repeated. Only read.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    cls=GroupedOption,
    group="Access",
    help="Users and their hashed passwords: each sees their own jobs alone.",
)
@click.option(
    "--set-password",
    metavar="NAME",
    cls=GroupedOption,
    group="Access",
    help="Add a user to --password-file, or change their password, and end.",
)
@_flags
def serve(
    data: Path,
    folders: tuple[Path, ...],
    password_file: Path | None,
    set_password: str | None,
    **flags: Any,
) -> None:
    """Serve a page for browsers and an HTTP API: send videos, preview, watch the queue, play and fetch results.

    Jobs survive restarts of the server. Inputs are decoded in processes of their own. /api/v1/openapi.json describes
    the API.
    """
    if set_password is not None:
        _set_password(password_file, set_password)
        return
    try:
        options = ServerOptions(**{name: value for name, value in flags.items() if value is not None})
        settings = ServerSettings(data, folders, password_file, options)
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    _serve(settings)


def _set_password(path: Path | None, name: str) -> None:
    from starvsr.apps.server.login import set_password

    if path is None:
        raise click.UsageError("--set-password needs --password-file, the file to write to")
    if sys.stdin.isatty():
        password = click.prompt(f"password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    set_password(path, name, password)
    remark(f"{path}: {name} has a password now; restart the server for it to hold")
