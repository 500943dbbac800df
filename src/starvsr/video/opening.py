"""Open containers: FFmpeg's errors become one-line errors of ours, and its log stays off the terminal."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from starvsr.errors import InputNotFoundError, UnreadableInputError

# their clock starts anywhere, so only differences of times mean something
_ARBITRARY_CLOCK = frozenset({"mpegts", "mpeg", "mpegtsraw", "rtp", "wtv"})


def has_arbitrary_clock(container_name: str) -> bool:
    """Whether a container's first timestamp carries no meaning (transport and program streams)."""
    return container_name in _ARBITRARY_CLOCK


def library_versions() -> dict[str, str]:
    """Return the versions of PyAV and of FFmpeg's libraries."""
    parts = {name: ".".join(map(str, version)) for name, version in sorted(av.library_versions.items())}
    return {"av": av.__version__, **parts}


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect what FFmpeg says while the block runs; the list fills when it ends."""
    level = av.logging.get_level()
    lines: list[str] = []
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as logs:
            yield lines
        lines.extend(f"{name}: {text.strip()}" if name else text.strip() for _, name, text in logs)
    finally:
        av.logging.set_level(level)


def open_input(path: Path, *, options: dict[str, str] | None = None) -> Any:
    """Open a file for reading.

    Raises:
        InputNotFoundError: There is no such file.
        UnreadableInputError: It is empty, no media FFmpeg knows, or cannot be opened.
    """
    check_file(path)
    try:
        # "file:" keeps names with a colon from being taken for a protocol; playlists must not fetch from the net
        return av.open(
            f"file:{path}", "r", options={"protocol_whitelist": "file", **(options or {})}, metadata_errors="replace"
        )
    except (av.error.FFmpegError, OSError, ValueError, UnicodeError) as error:
        raise _unreadable(path, error) from None


def check_file(path: Path) -> None:
    """Refuse what is not a readable, non-empty file.

    Raises:
        InputNotFoundError: There is no such file.
        UnreadableInputError: It is a folder, empty, or closed to us.
    """
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise InputNotFoundError(f"{path}: there is no such file; check the name and the folder") from None
    except OSError as error:
        raise UnreadableInputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None
    if path.is_file() and size == 0:
        raise UnreadableInputError(f"{path}: the file is empty (0 bytes); copy or download it again")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UnreadableInputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None


def _unreadable(path: Path, error: BaseException) -> UnreadableInputError:
    if getattr(error, "errno", None) == errno.EACCES:
        return UnreadableInputError(f"{path}: permission denied; check who may read it")
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":
        why = "it starts like an MP4/MOV but has no readable index: probably cut off while recording or copying"
        return UnreadableInputError(f"{path}: {why}; get the whole file, or repair it (untrunc, ffmpeg)")
    return UnreadableInputError(f"{path}: not a video or image that FFmpeg can read ({reason(error)}); check the file")


def reason(error: BaseException) -> str:
    """Say an FFmpeg error in a few words."""
    return str(getattr(error, "strerror", None) or error).split("\n", 1)[0].rstrip(".")
