"""Text subtitles turned into the kind that a container holds: SubRip, ASS, WebVTT or timed text into one another.

FFmpeg's decoders give all of them as lines of ASS, its encoders write them anew. Times are those of the packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from starvsr.video.remux.stream_twin import carry_marks
from starvsr.video.remux.tags import stream_words
from starvsr.video.write.containers import muxer_word

_KINDS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_WORDS = {"mov_text": "timed text (mov_text)", "subrip": "SubRip", "webvtt": "WebVTT"}
_PLACED = ("ass", "ssa", "webvtt")  # kinds that have places and effects beside words
_FIELDS = 8  # of a line of ASS, before its words
_DRAWING = re.compile(rb"\{[^}]*\\p[1-9][^}]*\}.*?(?:\{[^}]*\\p0[^}]*\}|$)", re.DOTALL)
_OVERRIDE = re.compile(rb"\{[^}]*\}")
_UNKNOWN_LENGTH = Fraction(3)  # seconds that the last line is shown, where its length is told nowhere
_MOST_MS = 2**32 - 1


@dataclass(frozen=True)
class _Line:
    """A line of ASS without a number, and when it is shown, in ticks; ``stop`` is None until the next one."""

    start: int
    stop: int | None
    content: bytes


class TextConverter:
    """Turns the packets of text subtitles into those of another kind.

    Args:
        source: The stream of the input.
        target: The stream of the output, from `add_text`.
    """

    def __init__(self, source: Any, target: Any) -> None:
        self._source = source
        self.target = target
        self._is_serial = target.codec_context.name == "mov_text"  # each packet of it replaces the one before
        self._shown: list[_Line] = []
        self._now: int | None = None
        self.num_damaged = 0

    def take(self, packet: Any) -> Iterator[Any]:
        """Give the packets that a packet turns into, as far as they are certain."""
        line = self._decode(packet)
        if line is None:
            return
        if not self._is_serial:
            yield self._encode(line.start, line.stop, [line])
            return
        yield from self._show_until(line.start)
        self._shown.append(line)

    def flush(self) -> Iterator[Any]:
        """Give the last packets."""
        yield from self._show_until(None)

    def _decode(self, packet: Any) -> _Line | None:
        try:
            found = self._source.codec_context.decode2(packet)
        except (av.error.FFmpegError, ValueError):
            self.num_damaged += 1
            return None
        if found is None or packet.pts is None:
            return None
        rows = [row for rect in found if isinstance(rect, AssSubtitle) and (row := _without_drawings(rect.ass))]
        if not rows:
            return None
        length = packet.duration or _told_length(found, Fraction(packet.time_base))
        stop = packet.pts + length if length else None
        return _Line(packet.pts, stop, b"\\N".join([rows[0], *(_words(row) for row in rows[1:])]))

    def _show_until(self, time: int | None) -> Iterator[Any]:
        """Give what is shown up to a time; lines that are shown together become one packet while they are."""
        if self._shown and self._now is None:
            self._now = self._shown[0].start
        while self._shown and self._now is not None:
            stops = [line.stop for line in self._shown if line.stop is not None]
            stops += [time] if time is not None else []
            stop = min(stops) if stops else self._now + int(_UNKNOWN_LENGTH / Fraction(self._source.time_base))
            if stop > self._now:
                yield self._encode(self._now, stop, self._shown)
                self._now = stop
            is_reached = time is not None and stop >= time
            self._shown = [line for line in self._shown if _goes_on(line, self._now, is_last=time is None)]
            if is_reached:
                break
        if time is not None:
            self._now = max(time, self._now or time)

    def _encode(self, start: int, stop: int | None, lines: Sequence[_Line]) -> Any:
        content = b"\\N".join([lines[0].content, *(_words(line.content) for line in lines[1:])])
        base = Fraction(self._source.time_base)
        milliseconds = min(round((stop - start) * base * 1000), _MOST_MS) if stop is not None else 0
        packet = self.target.codec_context.encode_subtitle(SubtitleSet.create(content, 0, milliseconds))
        packet.pts = packet.dts = start
        packet.duration = stop - start if stop is not None else 0
        packet.time_base = base
        packet.stream = self.target
        return packet


def add_text(output: Any, muxer: str, stream: Any) -> TextConverter | None:
    """Add a stream for a text's own kind in a container, and give what turns the packets into it.

    Args:
        output: The output container of PyAV.
        muxer: Its FFmpeg name.
        stream: The stream of the input.

    Returns:
        None where the stream holds no text, or the container none.
    """
    kind = _KINDS.get(muxer)
    context = stream.codec_context
    if kind is None or stream.type != "subtitle" or context is None or not context.codec.text_sub:
        return None
    context.open(strict=False)
    if not context.subtitle_header:
        return None
    target = output.add_stream(kind)
    target.codec_context.subtitle_header = context.subtitle_header
    target.codec_context.time_base = target.time_base = stream.time_base
    carry_marks(output, stream, target)
    return TextConverter(stream, target)


def text_note(stream: Any, muxer: str) -> str:
    """Say what becomes of a stream of text."""
    lost = "; words and times are kept, places and effects are not" if stream.codec_context.name in _PLACED else ""
    kind = _WORDS[_KINDS[muxer]]
    return f"stream {stream.index} ({stream_words(stream)}) is written as {kind}, the text of {muxer_word(muxer)}{lost}"


def _goes_on(line: _Line, now: int, *, is_last: bool) -> bool:
    return line.stop > now if line.stop is not None else False if is_last else line.start >= now


def _told_length(found: Any, base: Fraction) -> int:
    """Give the length that a decoder found in the words themselves, in ticks; 0 if none."""
    length = found.end_display_time
    return round(Fraction(length, 1000) / base) if 0 < length < _MOST_MS else 0


def _without_drawings(row: bytes) -> bytes:
    """Take the drawings out of a line of ASS, which other kinds would show as letters; nothing if no words are left."""
    head, words = row.split(b",", _FIELDS)[:_FIELDS], _DRAWING.sub(b"", _words(row))
    return b",".join([*head, words]) if _OVERRIDE.sub(b"", words).strip() else b""


def _words(row: bytes) -> bytes:
    parts = row.split(b",", _FIELDS)
    return parts[_FIELDS] if len(parts) > _FIELDS else b""
