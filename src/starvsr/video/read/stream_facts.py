"""What the headers of a file say of its streams: rate, length, shape of pixels, chapters."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from starvsr.video.info import Chapter, StreamInfo
from starvsr.video.read.opening import has_arbitrary_clock
from starvsr.video.read.stream_choice import is_cover

_FIELD_ORDERS = {0: "progressive", 1: "progressive", 2: "top", 3: "bottom", 4: "top", 5: "bottom"}
_CLOCK = re.compile(r"([0-9]{1,6}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,12})?)")
_STEPPING = 0x0200  # FFmpeg's flag of a container: AVFMT_TS_DISCONT
_NO_TIMES = 0x0080  # FFmpeg's flag of a container: AVFMT_NOTIMESTAMPS
_FASTEST = 240  # frames a second, from which on a clock is more likely
_STRANGEST_ASPECT = Fraction(1000)
_LARGEST_DENOMINATOR = 1 << 20


def is_elementary(container: Any) -> bool:
    """Whether a container is none: a raw stream, whose times follow from its rate alone."""
    return bool(container.format.flags & _NO_TIMES)


def may_step(container: Any) -> bool:
    """Whether the clock of such a container may step within a file."""
    return bool(container.format.flags & _STEPPING)


def nominal_rate(stream: Any, *, raw: bool = False, interval: Fraction | None = None) -> Fraction:
    """Choose the frame rate: the guessed one, unless the mean is far from it (variable rate).

    A mean that is the clock itself says nothing (raw DV), nor does that of raw streams, where it is a default of 25.
    FFmpeg guesses no rate from fewer than three frames of raw MPEG-4, whose headers tell the clock alone.

    Args:
        stream: The stream.
        raw: Whether `is_elementary` holds for its container.
        interval: Seconds between the decoding times of two frames, where known.
    """
    mean, guess = stream.average_rate, stream.guessed_rate or stream.base_rate
    if raw and interval and stream.codec_context.name == "mpeg4" and guess == mean:
        guess = 1 / interval
    if mean and guess and (raw or _is_clock(mean, stream)):
        mean = None
    coded = stream.codec_context.framerate if raw else None
    if coded and guess == 2 * coded:  # fields
        guess = coded
    if mean and guess and abs(guess - mean) > mean / 10:
        guess = mean
    if not mean and guess and _is_clock(guess, stream):
        guess = _counted_rate(stream)
    rate = Fraction(guess or mean or 25)
    return rate if 0 < rate < 100_000 else Fraction(25)


def _is_clock(rate: Fraction, stream: Any) -> bool:
    """Whether a rate is one frame for each tick of a clock that is too fast for that."""
    return rate * stream.time_base == 1 and rate > _FASTEST


def _counted_rate(stream: Any) -> Fraction | None:
    if not stream.frames or not stream.duration:
        return None
    return Fraction(stream.frames) / (stream.duration * Fraction(stream.time_base))


def origin_of(container: Any, frame: Any) -> Fraction:
    """Find where a clock that starts anywhere starts, in seconds; 0 for other containers."""
    if not has_arbitrary_clock(container.format.name):
        return Fraction(0)
    starts = [s.start_time * Fraction(s.time_base) for s in container.streams if s.start_time is not None]
    return min([*starts, frame.pts * Fraction(frame.time_base)])


def promised_frames(stream: Any) -> int | None:
    """Count the index entries that are shown (edit lists hide some), else take the header's word."""
    entries = getattr(stream, "index_entries", ())  # since PyAV 17
    if stream.frames and len(entries) == stream.frames:
        return sum(not entry.is_discard for entry in entries)
    return len(entries) if leaves_out_frames(stream) else stream.frames or None


def leaves_out_frames(stream: Any) -> bool:
    """Whether an AVI's index spans all promised frames and some are empty: the one before is shown for longer."""
    entries = getattr(stream, "index_entries", ())
    rate, num_frames = stream.average_rate, stream.frames
    is_counted = bool(rate and stream.time_base) and rate * stream.time_base == 1
    return is_counted and 0 < len(entries) < num_frames == entries[len(entries) - 1].timestamp + 1


def duration_of(container: Any, stream: Any, start_time: Fraction) -> Fraction | None:
    """Find the length of the video in seconds, as far as the headers tell it."""
    end = end_time(container, stream)
    if end is not None and end > start_time:
        return end - start_time
    if stream.duration and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    if not container.duration:
        return None
    counted_from_zero = container.format.name.startswith("matroska")
    start = container.start_time if counted_from_zero and container.start_time else 0
    return Fraction(container.duration - start, 1_000_000)


def end_time(container: Any, stream: Any) -> Fraction | None:
    """Find the end of the video stream alone: from the MP4 track, or from Matroska's DURATION tag."""
    if container.format.name.startswith("mov") and stream.duration:
        return (stream.duration + (stream.start_time or 0)) * Fraction(stream.time_base)
    words = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    if words is None:
        return None
    hours, minutes, seconds = (Fraction(word) for word in words.groups())
    return hours * 3600 + minutes * 60 + seconds


def aspect_of(found: Fraction | None) -> Fraction:
    """Take the shape of a pixel for what the file says, unless it is none, or needs numbers that no container holds."""
    if not found or not 1 / _STRANGEST_ASPECT <= found <= _STRANGEST_ASPECT:
        return Fraction(1)
    return Fraction(found).limit_denominator(_LARGEST_DENOMINATOR)


def field_order(stream: Any, frame: Any) -> str:
    """Say which field comes first: ``progressive``, ``top``, ``bottom`` or ``unknown``."""
    order = _FIELD_ORDERS.get(int(getattr(stream.codec_context, "field_order", 0) or 0), "progressive")
    return "unknown" if order == "progressive" and frame.interlaced_frame else order


def stream_info(stream: Any) -> StreamInfo:
    """Describe a stream."""
    context = stream.codec_context
    is_picture = stream.type == "video" and is_cover(stream)
    detail = ""
    if stream.type == "audio" and context is not None:
        detail = f"{context.sample_rate} Hz, {context.layout.name}"
    elif stream.type == "video" and context is not None:
        detail = f"{context.width}x{context.height} {context.pix_fmt or ''}".strip()
    elif stream.type == "attachment":
        detail = stream.metadata.get("filename", "")
    language = stream.metadata.get("language")
    return StreamInfo(
        index=stream.index,
        kind="cover" if is_picture else stream.type,
        codec=context.name if context is not None else "unknown",
        language=None if language == "und" else language,
        title=stream.metadata.get("title"),
        detail=detail,
        sample_rate=context.sample_rate if stream.type == "audio" and context is not None else None,
    )


def chapters_of(container: Any) -> tuple[Chapter, ...]:
    """List the chapters."""
    if not hasattr(container, "chapters"):
        return ()
    return tuple(
        Chapter(c["start"], c["end"], Fraction(c["time_base"] or Fraction(1, 1_000_000_000)), dict(c["metadata"]))
        for c in container.chapters()
    )
