"""Compare a finished file with its input and name what the container did not keep of tags, marks and chapters.

Muxers drop what they have no place for without a word, each release something else; so the file itself is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av

from starvsr.video.info import VideoInfo
from starvsr.video.read.opening import open_input
from starvsr.video.read.stream_choice import is_cover
from starvsr.video.remux.tags import container_tags, is_bookkeeping, language_of_mov, stream_tags, stream_words
from starvsr.video.untrusted.limits import OWN_FILES

_MOST_NAMED = 8
_MARKLESS = ("avi", "mpegts")


def name_losses(source: VideoInfo, output: Path, streams: Mapping[int, int]) -> list[str]:
    """Say what of the input's tags, marks and chapters is missing in the output, one sentence each.

    Args:
        source: The input.
        output: The finished file.
        streams: Index in the output of each stream of the input that is there.
    """
    with open_input(source.path, limits=source.limits) as before, open_input(output, limits=OWN_FILES) as after:
        return [
            *_container_losses(before, after),
            *_stream_losses(before, after, streams),
            *_chapter_losses(before, after),
        ]


def _container_losses(before: Any, after: Any) -> Iterator[str]:
    lost = _missing(container_tags(before), after.metadata)
    if lost:
        yield f"tags that this container does not keep: {lost}"


def _stream_losses(before: Any, after: Any, streams: Mapping[int, int]) -> Iterator[str]:
    for index, place in streams.items():
        stream = before.streams[index]
        if place >= len(after.streams):
            yield f"stream {index} ({stream_words(stream)}), which is empty or damaged: this container does not keep it"
            continue
        twin = after.streams[place]
        where = f"of stream {index} ({stream_words(stream)}) that this container does not keep"
        lost = _missing(stream_tags(stream), twin.metadata)
        if lost:
            yield f"tags {where}: {lost}"
        marks = _marks(stream) - _marks(twin)
        if after.format.name in _MARKLESS:
            marks.discard("default")  # is not worth a word where there are none at all
        if marks and not is_cover(stream):
            yield f"marks {where}: {_listed(marks)}"


def _chapter_losses(before: Any, after: Any) -> Iterator[str]:
    if not hasattr(after, "chapters"):  # before PyAV 15
        return
    pairs = zip(before.chapters(), after.chapters(), strict=False)
    lost = {key for old, new in pairs for key in _lost_keys(old["metadata"], new["metadata"])}
    if lost:
        yield f"tags of chapters that this container does not keep: {_listed(lost)}"


def _missing(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    return _listed(_lost_keys(before, after))


def _lost_keys(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """Name the keys whose values differ, without those that mean nothing; Matroska folds the case of keys."""
    kept = {key.lower(): value for key, value in after.items()}
    kept.setdefault("title", kept.get("name", ""))  # what QuickTime calls it
    return {
        key
        for key, value in before.items()
        if not is_bookkeeping(key) and not _means_the_same(key.lower(), value, kept.get(key.lower()))
    }


def _means_the_same(key: str, value: str, kept: str | None) -> bool:
    if key == "language":
        return language_of_mov(value) == language_of_mov(kept or "und")
    return kept == value or key == "handler_name"  # the writer's own word for a track


def _marks(stream: Any) -> set[str]:
    return {str(flag.name) for flag in av.stream.Disposition if flag & stream.disposition}


def _listed(words: set[str]) -> str:
    few = sorted(words)[:_MOST_NAMED]
    return ", ".join(few) + (f" and {len(words) - len(few)} more" if len(words) > len(few) else "")
