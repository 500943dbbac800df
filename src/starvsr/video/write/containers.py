"""The files that can be written: suffixes, FFmpeg's names of their containers, and what those hold."""

from __future__ import annotations

from starvsr.errors import OptionError

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
}
"""FFmpeg's muxer for each suffix of a video."""
IMAGE_OUTPUTS = ("", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".avif")
"""Suffixes of images; a name without suffix is a folder of PNG files."""
ANIMATION_OUTPUTS = (".gif", ".webp", ".apng")
"""Suffixes of animations, which are images where there is one frame."""
KIND_OPTIONS = ("mpegts_m2ts_mode",)
"""Options that make another container of a muxer's."""
_WORDS = {
    "mp4": "MP4",
    "mov": "MOV",
    "matroska": "Matroska",
    "webm": "WebM",
    "avi": "AVI",
    "mpegts": "a transport stream",
}
_WITH_CHAPTERS = frozenset({"mp4", "mov", "matroska"})
_BLURAY_SUFFIXES = (".m2ts", ".mts")


def container_of(name: str, suffix: str) -> str:
    """Give FFmpeg's muxer for a file name.

    Raises:
        OptionError: The suffix is none we write.
    """
    muxer = CONTAINERS.get(suffix.lower())
    if muxer is None:
        raise OptionError(f"{name}: cannot write {suffix or 'a file without suffix'}; choose {known_outputs()}")
    return muxer


def known_outputs() -> str:
    """List all that can be written, for messages."""
    images, animations = (
        ", ".join(suffix for suffix in suffixes if suffix) for suffixes in (IMAGE_OUTPUTS, ANIMATION_OUTPUTS)
    )
    return (
        f"{', '.join(CONTAINERS)} for a video, {animations} for an animation, {images} for images, or a name without "
        "suffix for a PNG folder"
    )


def muxer_options(suffix: str) -> dict[str, str]:
    """Give the options that FFmpeg's muxer takes from a file's name, where it is not told that name."""
    return {"mpegts_m2ts_mode": "1"} if suffix.lower() in _BLURAY_SUFFIXES else {}


def muxer_word(muxer: str) -> str:
    """Give the usual name of a container."""
    return _WORDS.get(muxer, muxer)


def holds_chapters(muxer: str) -> bool:
    """Whether a container has chapters."""
    return muxer in _WITH_CHAPTERS


def has_global_headers(muxer: str) -> bool:
    """Whether parameter sets of H.264 and others go into the container's header rather than among the packets."""
    return muxer not in ("avi", "mpegts")


def holds_start_times(muxer: str) -> bool:
    """Whether a container's streams may begin at times of their own; in AVI all begin at 0."""
    return muxer != "avi"
