"""Clocks that step within a file: transport and program streams that were joined, or a receiver that lost its signal.

Each recording counts from a time of its own. At a step all streams move together, so that pictures and sound go on
where they were and stay in step with each other. The thresholds are those of FFmpeg's program (``-dts_delta_threshold``
10 s, and 0.1 s backwards); it is a step, too, where pictures came evenly and one comes back or much too soon.
Packets of the old clock that arrive behind the first of the new one keep the old clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

from starvsr.video.read.opening import open_input
from starvsr.video.read.stream_choice import is_cover, video_stream
from starvsr.video.untrusted.limits import Limits

_FAR = 10  # seconds
_BACK = Fraction(1, 10)  # seconds
_UNEVEN = Fraction(1, 500)  # seconds by which even steps may differ, as those rounded to whole milliseconds do
_FEW, _MANY = 4, 16  # even steps after which a picture that does not come later, or much too early, is a step
_MOST_LENGTHS = 16
_TICK = 1024  # packets of a survey
SURVEY_PATIENCE = 2.0
"""Seconds after which a survey tells that it takes long."""
_MOST_LATE = 16  # packets of the old clock behind the first of the new one


@dataclass
class _Line:
    """A stream of sound or pictures; times in units of the clock.

    Attributes:
        factor: Units per tick of the stream.
        is_video: Whether it is pictures.
        length: Units that a packet lasts where it does not say; 0 where that is unknown.
        offset: Added to its times.
        era: The number of steps that ``offset`` knows of.
        num_late: Packets that kept the old clock since the last step.
        last: The last decoding time, moved.
        expected: Where the next packet should lie.
        interval: Between the last two decoding times.
        num_even: How many times in a row it was the same.
        newest: The last packet of pictures, and by how much it is shown later than decoded.
        lead: The same of those before it.
        num_leads: For how many of them in a row.
        num_since_jump: Packets of sound since one that came back by more than a packet, which alone is no step.
    """

    factor: int
    is_video: bool
    length: int
    offset: int = 0
    era: int = 0
    num_late: int = 0
    last: int | None = None
    expected: int = 0
    interval: int = 0
    num_even: int = 0
    newest: tuple[Any, int | None] | None = None
    lead: int | None = None
    num_leads: int = 0
    num_since_jump: int = _MOST_LATE


class Clock:
    """Moves the times of packets, given in the order of the file, over the steps of its clock.

    A step may show that the packet of pictures before it has a wrong presentation time, which is then taken away
    (`corrected` waits for that).

    Args:
        streams: All streams of the container.

    Attributes:
        num_steps: Steps so far.
    """

    def __init__(self, streams: Sequence[Any]) -> None:
        bases = {stream.index: Fraction(stream.time_base) for stream in streams if stream.time_base}
        self._rate = math.lcm(*(base.denominator for base in bases.values())) if bases else 1
        self._lines = {stream.index: self._line(stream) for stream in followed(streams)}
        self._factors = {index: int(base * self._rate) for index, base in bases.items()}
        self._offset = 0
        self._newest: int | None = None
        self._far, self._back = _FAR * self._rate, int(_BACK * self._rate)
        self._uneven = int(_UNEVEN * self._rate)
        self.num_steps = 0

    def correct(self, packet: Any) -> None:
        """Move the times of the next packet."""
        line = self._lines.get(packet.stream_index)
        before = line.offset if line is not None else 0
        lead = packet.pts - packet.dts if packet.pts is not None and packet.dts is not None else None
        if line is None or (line.last is None and packet.dts is None):
            offset = self._offset
        elif packet.dts is None:
            offset = line.offset
        else:
            offset = self._follow(line, packet.dts * line.factor, (packet.duration or 0) * line.factor)
        factor = self._factors.get(packet.stream_index)
        if packet.pts is not None and packet.dts is not None and factor:
            ahead = (packet.pts - packet.dts) * factor
            if not -self._back <= ahead <= self._far // 2:  # taken from the first packet of the new clock
                packet.pts = None
        if offset and factor:
            ticks = round(Fraction(offset, factor))
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        if line is not None and line.is_video:
            self._look_back(line, is_step=line.offset != before)
            line.newest = (packet, lead)

    def _look_back(self, line: _Line, *, is_step: bool) -> None:
        """Take a time away that came from behind a step: of a parser that saw the picture's end only there."""
        if line.newest is None:
            return
        packet, lead = line.newest
        if is_step and line.num_leads >= _FEW and lead != line.lead:
            packet.pts = None
        line.num_leads = line.num_leads + 1 if lead == line.lead else 1
        line.lead = lead

    def corrected(self, packets: Iterable[Any], index: int) -> Iterator[Any]:
        """Yield the packets of one stream of pictures, each when the next one has been looked at.

        Args:
            packets: Those of all streams that `followed` gives, in the order of the file.
            index: The stream.
        """
        held = None
        try:
            for packet in packets:
                self.correct(packet)
                if packet.stream_index == index:
                    if held is not None:
                        yield held
                    held = packet
        except av.error.FFmpegError:
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held

    def interval(self, index: int) -> Fraction | None:
        """Return the seconds between the last two decoding times of a stream; None where there is no such distance."""
        line = self._lines[index]
        return Fraction(line.interval, self._rate) if line.interval > 0 else None

    def _line(self, stream: Any) -> _Line:
        context, length = stream.codec_context, Fraction(0)
        if stream.type == "audio":
            length = Fraction(context.frame_size or 0, context.sample_rate or 1) if context is not None else length
        elif stream.guessed_rate:
            length = 1 / Fraction(stream.guessed_rate)
        base = Fraction(stream.time_base)
        return _Line(int(base * self._rate), stream.type == "video", round(length * self._rate))

    def _follow(self, line: _Line, raw: int, duration: int) -> int:
        """Choose what is added to a decoding time, and remember it."""
        if line.era != self.num_steps and not self._keeps_old(line, raw):
            line.offset, line.era, line.num_late, line.num_since_jump = self._offset, self.num_steps, 0, _MOST_LATE
        if line.era == self.num_steps and (delta := self._step(line, raw + line.offset)):
            self.num_steps += 1
            self._offset = line.offset - delta
            line.offset, line.era = self._offset, self.num_steps
        time = raw + line.offset
        self._remember(line, time, duration)
        return line.offset

    def _keeps_old(self, line: _Line, raw: int) -> bool:
        """Whether a packet behind another stream's step is still one of before: only few are, and they fit better."""
        if line.last is None or line.num_late >= _MOST_LATE or line.num_since_jump < _MOST_LATE:
            return False
        line.num_late += 1
        return abs(raw + line.offset - line.expected) < abs(raw + self._offset - line.expected)

    def _step(self, line: _Line, time: int) -> int:
        """Say by how much the clock has stepped before this packet; 0 for not at all."""
        if line.last is None:
            away = 0 if self._newest is None else time - self._newest
            return away if abs(away) > self._far else 0
        delta = time - line.expected
        if abs(delta) > self._far or time + self._back < line.last:
            return delta
        gap = time - line.last
        is_cut = gap <= 0 and line.num_even >= _FEW
        is_squeezed = 2 * gap < line.interval and line.num_even >= _MANY
        return time - line.last - line.interval if line.is_video and (is_cut or is_squeezed) else 0

    def _remember(self, line: _Line, time: int, duration: int) -> None:
        if line.last is not None:
            gap = time - line.last
            is_even = abs(gap - line.interval) <= min(self._uneven, line.interval // 4)
            line.num_even = line.num_even + 1 if is_even and gap > 0 else 0
            line.interval = line.interval if is_even else gap
            has_jumped = not line.is_video and line.length and time + line.length < line.expected
            line.num_since_jump = 0 if has_jumped else line.num_since_jump + 1
        line.last = self._newest = time
        line.expected = time + ((duration or line.length) if line.is_video else (line.length or duration))


def followed(streams: Sequence[Any]) -> list[Any]:
    """Choose the streams that steps are found in: sound and moving pictures."""
    return [s for s in streams if s.type in ("video", "audio") and s.time_base and not is_cover(s)]


@dataclass(frozen=True)
class Survey:
    """What the packets of a file tell of its times, read to the end.

    Attributes:
        num_steps: Steps of its clock.
        start: Seconds of the earliest packet of sound or pictures; None without any.
        video_end: Seconds at which the last picture is over, steps taken out; None where no picture has a time.
        lengths: How many packets of pictures last so many seconds (a few different ones; others count as 0).
        interval: Seconds between the last two decoding times of pictures; None where there is none.
    """

    num_steps: int
    start: Fraction | None
    video_end: Fraction | None
    lengths: Mapping[Fraction, int]
    interval: Fraction | None

    @property
    def num_packets(self) -> int:
        """Count the packets of pictures."""
        return sum(self.lengths.values())

    def num_fields(self, rate: Fraction) -> int:
        """Count the fields of all pictures, repeated ones too, at a rate of whole frames."""
        return sum(count * fields_of(length, rate) for length, count in self.lengths.items())

    def repeats(self, rate: Fraction) -> bool:
        """Whether some pictures last longer than a frame, as films on video discs do."""
        return any(fields_of(length, rate) > 2 for length in self.lengths)


def fields_of(length: Fraction, rate: Fraction) -> int:
    """Say how many fields a picture of a raw stream is shown, by its length in seconds; two where that is not told."""
    return max(1, round(length * rate * 2)) if length else 2


@dataclass
class _Extent:
    start: int | None = None
    end: int | None = None
    lengths: dict[int, int] = field(default_factory=dict)


_listener: ContextVar[Callable[[], None] | None] = ContextVar("survey_listener", default=None)


@contextmanager
def survey_told(listener: Callable[[], None]) -> Iterator[None]:
    """Have a function called once in a while by surveys that take longer than two seconds, within the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def survey(path: Path, limits: Limits) -> Survey:
    """Read the packets of a file, without decoding; damage ends it. `survey_told` tells of long ones."""
    stat = path.stat()
    return _survey(path, limits, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _survey(path: Path, limits: Limits, size: int, modified: int) -> Survey:
    with open_input(path, limits=limits) as container:
        video = video_stream(container, path)
        streams = followed(container.streams)
        clock = Clock(container.streams)
        extents = {stream.index: _Extent() for stream in streams}
        listener, patience = _listener.get(), time.monotonic() + SURVEY_PATIENCE
        for number, packet in enumerate(undamaged(container, streams)):
            if listener is not None and number % _TICK == 0 and time.monotonic() >= patience:
                listener()
            clock.correct(packet)
            _extend(extents[packet.stream_index], packet)
        bases = {stream.index: Fraction(stream.time_base) for stream in streams}
        shown, base, interval = extents[video.index], bases[video.index], clock.interval(video.index)
    starts = [one.start * bases[index] for index, one in extents.items() if one.start is not None]
    end = None if shown.end is None else shown.end * base
    lengths = {ticks * base: count for ticks, count in shown.lengths.items()}
    return Survey(clock.num_steps, min(starts, default=None), end, lengths, interval)


def undamaged(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Yield the packets of streams up to the end, or to damage; not the empty ones that end it."""
    try:
        for packet in container.demux(streams):
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return


def _extend(extent: _Extent, packet: Any) -> None:
    length = packet.duration or 0
    known = length if length in extent.lengths or len(extent.lengths) < _MOST_LENGTHS else 0
    extent.lengths[known] = extent.lengths.get(known, 0) + 1
    if packet.pts is None:
        return
    end = packet.pts + (packet.duration or 0)
    extent.start = packet.pts if extent.start is None else min(extent.start, packet.pts)
    extent.end = end if extent.end is None else max(extent.end, end)
