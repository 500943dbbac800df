"""Tags of containers and streams: which are facts about the old file, and what containers call them."""

from __future__ import annotations

from typing import Any

from starvsr.video.info import VideoInfo
from starvsr.video.read.stream_choice import is_cover

_KIND_WORDS = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "attachment", "video": "video"}
_DROPPED_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
# facts about the old video stream, which no longer hold
_STALE_STREAM_TAGS = frozenset(
    {"encoder", "vendor_id", "duration", "bps", "number_of_frames", "number_of_bytes", "rotate", "alpha_mode"}
)
# what the MP4 and MOV writers store under their own names; other keys need "use_metadata_tags"
_MP4_TAGS = frozenset(
    [
        "title",
        "author",
        "composer",
        "album_artist",
        "album",
        "artist",
        "comment",
        "genre",
        "copyright",
        "grouping",
        "lyrics",
        "date",
        "description",
        "synopsis",
        "show",
        "episode_id",
        "network",
        "keywords",
        "season_number",
        "episode_sort",
        "media_type",
        "hd_video",
        "gapless_playback",
        "compilation",
        "track",
        "disc",
        "encoding_tool",
        "creation_time",
        "sort_name",
        "location",
    ]
)
# QuickTime numbers its languages; FFmpeg's list of them knows only one of the two ISO 639-2 codes of some
_MOV_LANGUAGES = {
    "cze": "ces",
    "deu": "ger",
    "ell": "gre",
    "fre": "fra",
    "isl": "ice",
    "nld": "dut",
    "rum": "ron",
    "slo": "slk",
    "sqi": "alb",
    "zho": "chi",
}


def needs_free_tags(source: VideoInfo, *, keeps_covers: bool) -> bool:
    """Whether an MP4/MOV must store tags under free names to keep all of them.

    Args:
        source: The input.
        keeps_covers: Whether cover art goes into the file (MP4 does, MOV cannot), which has no place beside free names.
    """
    if keeps_covers and any(stream.kind == "cover" for stream in source.streams):
        return False
    return any(key.lower() not in _MP4_TAGS | _DROPPED_TAGS for key in source.metadata)


def container_tags(container: Any) -> dict[str, str]:
    """Give the tags of a container that still hold for another one."""
    return {key: value for key, value in container.metadata.items() if key.lower() not in _DROPPED_TAGS}


def stream_tags(stream: Any) -> dict[str, str]:
    """Give the tags of a stream that still hold when it is copied, or coded anew if it is the picture."""
    is_picture = stream.type == "video" and not is_cover(stream)
    tags = {key: value for key, value in stream.metadata.items() if not (is_picture and is_bookkeeping(key))}
    if "name" in tags and "title" not in tags:  # what QuickTime calls it
        tags["title"] = tags.pop("name")
    return tags


def copy_tags(stream: Any, target: Any) -> None:
    """Give a stream the tags of another."""
    for key, value in stream_tags(stream).items():
        target.metadata[key] = value


def is_bookkeeping(key: str) -> bool:
    """Whether a tag is one that writers of files make on their own."""
    return key.lower().split("-")[0] in _STALE_STREAM_TAGS or key.startswith("_STATISTICS")


def language_of_mov(language: str) -> str:
    """Give the one of a language's two codes of ISO 639-2 that FFmpeg knows for QuickTime."""
    return _MOV_LANGUAGES.get(language, language)


def stream_words(stream: Any) -> str:
    """Say what a stream is, e.g. ``sound, aac``."""
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown codec"
    kind = "cover art" if is_cover(stream) else _KIND_WORDS.get(stream.type, stream.type)
    return f"{kind}, {codec}" if stream.type != "attachment" else kind
