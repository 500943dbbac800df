"""When each frame is shown and for how long: timestamps that increase, durations that join."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from starvsr.video.info import VideoInfo

_LONGEST_LAST = 250  # frames: a longer last frame is a wrong header rather than a still


@dataclass(frozen=True)
class Picture:
    """A decoded frame before conversion; ``image`` None repeats the one before (concealed damage)."""

    pts: int | None
    duration: int
    image: Any


def with_times(pictures: Iterator[Picture], info: VideoInfo, note: Callable[[str], None]) -> Iterator[Picture]:
    """Shift times by the origin, fill in missing ones and make them increase."""
    base = info.time_base
    step = max(1, round(1 / (info.frame_rate * base)))
    shift = round(info.origin / base)
    previous: int | None = None
    length = step
    for picture in pictures:
        if info.kind == "video" and not info.has_timestamps:
            duration = max(step, picture.duration)  # films on discs repeat fields
            pts = 0 if previous is None else previous + length
            length = duration
        else:
            missing = 0 if previous is None else previous + step
            pts = missing if picture.pts is None else picture.pts - shift
            duration = picture.duration
        if previous is not None and pts <= previous:
            note(f"{info.path.name}: some timestamps do not increase; those frames were moved by a tick")
            pts = previous + 1
        previous = pts
        yield replace(picture, pts=pts, duration=duration)


def within_limits(pictures: Iterator[Picture], info: VideoInfo) -> Iterator[Picture]:
    """Pass pictures on until there are too many, or until they lie too far from the first.

    Raises:
        LimitError: More than ``max_frames``, or later than ``max_duration``.
    """
    limits = info.limits
    first: int | None = None
    for number, picture in enumerate(pictures, 1):
        if number > limits.max_frames:
            limits.refuse(info.path, f"{number} frames or more", "max_frames")
        pts = picture.pts or 0
        first = pts if first is None else first
        seconds = (pts - first) * info.time_base
        if seconds > limits.max_duration:
            limits.refuse(info.path, f"frame {number} is {float(seconds):.0f} s behind the first", "max_duration")
        yield picture


def in_range(
    pictures: Iterator[Picture], info: VideoInfo, time_range: tuple[Fraction, Fraction | None] | None
) -> Iterator[Picture]:
    """Leave out what is shown outside of (start, stop) seconds; stop None for no end, None for all."""
    if time_range is None:
        yield from pictures
        return
    start, stop = time_range
    for picture in pictures:
        time = (picture.pts or 0) * info.time_base
        if stop is not None and time >= stop:
            return
        if time >= start:
            yield picture


def with_durations(pictures: Iterator[Picture], info: VideoInfo, *, is_whole: bool) -> Iterator[Picture]:
    """Set each duration to the distance to the next frame; the last keeps the duration that the file gives."""
    step = max(1, round(1 / (info.frame_rate * info.time_base)))
    held: Picture | None = None
    for picture in pictures:
        if held is not None:
            yield replace(held, duration=(picture.pts or 0) - (held.pts or 0))
        held = picture
    if held is not None:
        yield replace(held, duration=_last_duration(held, step, info, is_whole))


def _last_duration(picture: Picture, step: int, info: VideoInfo, is_whole: bool) -> int:
    """Take the end of the track, else the length of the packet (field-coded streams give half of it)."""
    if info.end_time is not None and is_whole:
        rest = round(info.end_time / info.time_base) - (picture.pts or 0)
        if 0 < rest <= max(_LONGEST_LAST * step, picture.duration):
            return rest
    return picture.duration if picture.duration > 0 and not info.interlaced else step
