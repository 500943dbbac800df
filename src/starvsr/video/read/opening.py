"""Open containers: FFmpeg's errors become one-line errors of ours, and its log stays off the terminal."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits
from starvsr.video.untrusted.structure import check_structure

# their clock starts anywhere, so only differences of times mean something
_ARBITRARY_CLOCK = frozenset({"mpegts", "mpeg", "mpegtsraw", "rtp", "wtv"})


# formats that make FFmpeg open other files, addresses or devices
_OPENERS = (
    "alsa android_camera avfoundation bktr concat dash decklink dshow fbdev ffmetadata gdigrab hds hls iec61883 imf "
    "jack kmsgrab lavfi libcdio libdc1394 openal oss pulse rtsp sap sdp smoothstreaming sndio svg_pipe v4l2 vfwcap "
    "video4linux2,v4l2 vobsub webm_dash_manifest x11grab xcbgrab"
)
_PLAYLISTS = (b"#EXTM3U", b"ffconcat version", b"v=0", b"<?xml", b"<MPD", b"[playlist]", b"[Reference]", b"RTSPtext")
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_LARGEST_INT = 2**31 - 1
_MARGIN_PIXELS = 1 << 16
DECODER_THREADS = 1
"""On every machine: on several, what some decoders make of damage depends on their number, or on chance."""
_TAG_COST = 64  # bytes that the bookkeeping of a tag or a chapter takes, roughly


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


def open_input(path: Path, *, options: dict[str, str] | None = None, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Open a file for reading. It is the only file that is read: formats that name others are not accepted.

    Raises:
        InputNotFoundError: There is no such file.
        UnreadableInputError: It is empty, no media FFmpeg knows, or cannot be opened.
        LimitError: It asks for more than the limits allow.
    """
    check_file(path)
    check_structure(path, limits)
    # "file:" keeps names with a colon from being taken for a protocol, pattern_type names with %d for a row of images
    safe = {
        "protocol_whitelist": "file",
        "format_whitelist": _accepted_formats(),
        "pattern_type": "none",
        "max_streams": str(limits.max_streams + 1),
        **decoder_options(limits),
    }
    try:
        container = av.open(f"file:{path}", "r", options={**safe, **(options or {})}, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError, UnicodeError) as error:
        raise _unreadable(path, error) from None
    try:
        check_claims(container, path, limits)
    except BaseException:
        container.close()
        raise
    return container


def decoder_options(limits: Limits) -> dict[str, str]:
    """Give the options that keep a decoder from making frames that are too large, in mid-stream too.

    Decoders count the margins of their buffers as well, so they get some more; the frames themselves are looked at
    when they come out.
    """
    return {"max_pixels": str(min(limits.max_pixels * 5 // 4 + _MARGIN_PIXELS, _LARGEST_INT))}


@lru_cache(maxsize=1)
def _accepted_formats() -> str:
    names = sorted(av.formats_available - set(_OPENERS.split()))
    return ",".join(name for name in names if not name.startswith("rtp"))


def check_claims(container: Any, path: Path, limits: Limits) -> None:
    """Refuse what the headers say of themselves, before anything is decoded for it."""
    streams = container.streams
    if len(streams) > limits.max_streams:
        limits.refuse(path, f"{len(streams)} streams or more", "max_streams")
    tags = [container.metadata, *(stream.metadata for stream in streams)]
    tags += [chapter["metadata"] for chapter in container.chapters()] if hasattr(container, "chapters") else []
    size = sum(len(key) + len(value) + _TAG_COST for tag in tags for key, value in tag.items()) + _TAG_COST * len(tags)
    if size > limits.max_metadata:
        limits.refuse(path, f"{size} bytes of tags", "max_metadata")
    attached = sum(len(stream.data or b"") for stream in streams if stream.type == "attachment")
    if attached > limits.max_attachments:
        limits.refuse(path, f"{attached} bytes of attachments", "max_attachments")
    for stream in streams.video:
        context = stream.codec_context
        if context is not None:
            limits.check_size(path, context.width, context.height)
            context.options = {**context.options, **decoder_options(limits)}
            context.thread_count = DECODER_THREADS
            if stream.frames > limits.max_frames:
                limits.refuse(path, f"{stream.frames} frames", "max_frames")


def check_file(path: Path) -> None:
    """Refuse what is not a readable, non-empty file. Opens no pipe, which would wait for somebody who writes.

    Raises:
        InputNotFoundError: There is no such file.
        UnreadableInputError: It is a pipe, a socket or a device, empty, or closed to us.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputNotFoundError(f"{path}: there is no such file; check the name and the folder") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputNotFoundError(f"{path}: the system knows no name as long as this; check it") from None
        raise UnreadableInputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise UnreadableInputError(
            f"{path}: {kind}, which cannot be read twice, as is needed here; write it to a file first and give that, "
            "or give - for standard input"
        )
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise UnreadableInputError(f"{path}: the file is empty (0 bytes); copy or download it again")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UnreadableInputError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None


def _unreadable(path: Path, error: BaseException) -> UnreadableInputError:
    if getattr(error, "errno", None) == errno.ENOMEM:
        why = "its headers ask for more streams or more memory than it may have"
        return UnreadableInputError(f"{path}: {why}; if the file can be trusted, raise --max-streams")
    if getattr(error, "errno", None) == errno.EACCES:
        return UnreadableInputError(f"{path}: permission denied; check who may read it")
    with path.open("rb") as file:
        head = file.read(64)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS):
        why = "a playlist or description that names other files or addresses, which are not opened"
        return UnreadableInputError(f"{path}: {why}; give the media file itself")
    if head[4:8] == b"ftyp":
        why = "it starts like an MP4/MOV but has no readable index: probably cut off while recording or copying"
        return UnreadableInputError(f"{path}: {why}; get the whole file, or repair it (untrunc, ffmpeg)")
    return UnreadableInputError(f"{path}: not a video or image that FFmpeg can read ({reason(error)}); check the file")


def reason(error: BaseException) -> str:
    """Say an FFmpeg error in a few words."""
    return str(getattr(error, "strerror", None) or error).split("\n", 1)[0].rstrip(".")
