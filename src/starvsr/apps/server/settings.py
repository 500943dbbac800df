"""What an operator may set, with the help of each flag."""

# ruff: noqa: RUF009 - `option` makes a `dataclasses.field`

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.errors import OptionError
from starvsr.options.info import option
from starvsr.options.job import check_values

_ACCESS, _WORK, _SPACE = "Access", "Work", "Limits"
_SITE = re.compile(r"https?://[A-Za-z0-9.*-]+(:[0-9]+)?")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServerOptions:
    """The plain settings of a server; each is a flag of `starvsr serve`.

    Raises:
        OptionError: A value has a wrong type or lies outside its range.
    """

    host: str = option(
        "127.0.0.1",
        "Address to listen on; others than this machine's own need a login (default: 127.0.0.1).",
        _ACCESS,
        "text",
    )
    port: int = option(7860, "Port to listen on; 0 takes a free one.", _ACCESS, "int", minimum=0, maximum=65535)
    page: bool = option(True, "Serve a page for browsers beside the API; needs the extra `page`.", _ACCESS, "flag")
    allowed_hosts: str | None = option(
        None,
        "Names under which browsers may reach the server beside its addresses, separated by commas.",
        _ACCESS,
        "text",
    )
    guests: bool = option(
        False,
        "Without a login, make each browser a user of its own: for a server that anyone may use.",
        _ACCESS,
        "flag",
    )
    framed_by: str | None = option(
        None,
        "Sites that may show the page in a frame, such as https://example.org, separated by commas.",
        _ACCESS,
        "text",
    )
    devices: str = option(
        "auto", "Devices, separated by commas; each works on a job of its own (default: auto).", _WORK, "text"
    )
    models: str | None = option(
        None, "Models offered, separated by commas (default: those whose weights are here).", _WORK, "text"
    )
    memory: int | None = option(
        None, "Memory of each job (default: as `starvsr upscale`).", _WORK, "size", minimum=1 << 28
    )
    threads: int | None = option(
        None, "Processor threads of each job (default: all cores).", _WORK, "int", minimum=1, maximum=1024
    )
    max_idle: Fraction = option(
        Fraction(600),
        "Unload a model that had nothing to do for so long, in seconds or h:mm:ss (default: 0:10:00).",
        _WORK,
        "time",
        minimum=0,
    )
    max_upload: int = option(8 << 30, "Refuse larger files (default: 8GB).", _SPACE, "size", minimum=1)
    max_disk: int = option(
        100 << 30, "Refuse uploads and jobs when files would take more (default: 100GB).", _SPACE, "size", minimum=1
    )
    max_disk_per_user: int | None = option(
        None,
        "Refuse a user's uploads and jobs when their files would take more (default: no own limit).",
        _SPACE,
        "size",
        minimum=1,
    )
    max_input_pixels: int = option(3840 * 2160, "Refuse pictures of more pixels.", _SPACE, "int", unit="px", minimum=1)
    max_output_pixels: int = option(7680 * 4320, "Refuse results of more pixels.", _SPACE, "int", unit="px", minimum=1)
    max_length: Fraction = option(
        Fraction(3600),
        "Refuse videos that last longer, in seconds or h:mm:ss (default: 1:00:00).",
        _SPACE,
        "time",
        minimum=1,
    )
    max_jobs: int = option(100, "Jobs that may wait or run, of all users.", _SPACE, "int", minimum=1)
    max_jobs_per_user: int = option(20, "Jobs of one user that may wait or run.", _SPACE, "int", minimum=1)
    max_stall: Fraction = option(
        Fraction(60),
        "Give up on an upload, or a decoder, after so many seconds without progress.",
        _SPACE,
        "time",
        minimum=1,
    )
    decoder_memory: int = option(
        2 << 30, "Memory of the process that decodes (default: 2GB).", _SPACE, "size", minimum=1 << 27
    )
    expire: Fraction = option(
        Fraction(72 * 3600),
        "Remove results, and uploads nobody uses, after this time (default: 72:00:00).",
        _SPACE,
        "time",
        minimum=1,
    )

    def __post_init__(self) -> None:
        """Check every value and bring it to its final type."""
        check_values(self)


@dataclass(frozen=True)
class ServerSettings:
    """All settings of a server.

    Args:
        data: Folder for uploads, results, the record of jobs and the secret key; made when it is not there.
        folders: Folders whose files may be named as inputs, read only.
        password_file: Users and their passwords, hashed; None: no login, one user.
        options: The plain settings.
    """

    data: Path
    folders: tuple[Path, ...] = ()
    password_file: Path | None = None
    options: ServerOptions = ServerOptions()

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            OptionError: So they do.
        """
        names = [folder.resolve().name for folder in self.folders]
        for folder in self.folders:
            if not folder.is_dir():
                raise OptionError(f"--folder {folder}: there is no such folder")
            if names.count(folder.resolve().name) > 1 or not folder.resolve().name:
                raise OptionError(f"--folder {folder}: its name stands for it, so it needs one of its own")
        for site in self.frames:
            if not _SITE.fullmatch(site):
                raise OptionError(f"--framed-by {site}: give addresses like https://example.org")
        if self.options.guests and self.password_file is not None:
            raise OptionError("--guests and --password-file exclude each other: leave one out")
        if self.password_file is None and not self.options.guests and self.options.host not in LOOPBACK:
            raise OptionError(
                f"--host {self.options.host} lets others reach the server, who could then use it freely: give "
                "--password-file (`starvsr serve --password-file FILE --set-password NAME` makes one), or --guests"
            )

    @property
    def roots(self) -> dict[str, Path]:
        """The allowed folders by name."""
        return {folder.resolve().name: folder.resolve() for folder in self.folders}

    @property
    def frames(self) -> tuple[str, ...]:
        """Sites that may show the page in a frame."""
        return tuple(filter(None, (word.strip() for word in (self.options.framed_by or "").split(","))))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names under which the server may be addressed."""
        given = [word.strip() for word in (self.options.allowed_hosts or "").split(",")]
        return tuple(dict.fromkeys([*LOOPBACK, "[::1]", self.options.host, *filter(None, given)]))

    def limits(self) -> dict[str, Any]:
        """Return the options of a job that bound what its input may do: they are the operator's alone."""
        options = self.options
        return {
            "isolate": True,
            "max_pixels": options.max_input_pixels,
            "max_duration": options.max_length,
            "max_stall": options.max_stall,
            "decoder_memory": options.decoder_memory,
        }
