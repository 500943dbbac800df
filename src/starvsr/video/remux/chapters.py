"""Chapters of an output: those of the input, cut to the part of it that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from starvsr.video.info import VideoInfo


def cut_chapters(
    info: VideoInfo, time_range: tuple[Fraction, Fraction | None] | None, moved: Fraction
) -> Iterator[dict[str, Any]]:
    """Return the chapters as PyAV's ``set_chapters`` takes them.

    Args:
        info: The input.
        time_range: Seconds (start, stop) on its timeline that are kept; None keeps all.
        moved: Seconds on that timeline that are 0 in the output.
    """
    stop = None if time_range is None or time_range[1] is None else time_range[1] - moved
    for number, chapter in enumerate(info.chapters):
        base = chapter.time_base
        shift = round((moved + info.origin) / base)
        start, end = chapter.start - shift, chapter.end - shift
        if time_range is not None:
            start = max(start, 0)
            end = end if stop is None else min(end, round(stop / base))
            if end <= start:
                continue
        yield {"id": number, "start": start, "end": end, "time_base": base, "metadata": dict(chapter.metadata)}
