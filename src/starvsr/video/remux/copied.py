"""One stream that is copied: which of its packets go into the output, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from starvsr.video.read.stream_choice import is_cover
from starvsr.video.remux.audio_conversion import SoundConverter
from starvsr.video.remux.audio_durations import packet_length
from starvsr.video.remux.copied_times import OutputTimes
from starvsr.video.remux.tags import stream_words
from starvsr.video.remux.text_subtitles import TextConverter


@dataclass
class Copied:
    """A stream that is copied, or converted: where it comes from, where it goes.

    Args:
        source: The stream of the input.
        target: The stream of the output.
        shift: Ticks of the source that are 0 in the output.
        converter: Gives its packets another form.
        times: Keeps the times of the output in order, once the header is written.
        has_begun: Whether a packet was written.
        num_refused: Packets that the container refused.
    """

    source: Any
    target: Any
    shift: int
    converter: TextConverter | SoundConverter | None = None
    times: OutputTimes | None = None
    has_begun: bool = False
    num_refused: int = 0

    def is_wanted(self, packet: Any, time_range: tuple[Fraction, Fraction | None] | None) -> bool:
        """Whether a packet lies in a range of seconds (start, stop) of the input; None keeps all."""
        if is_cover(self.source) or time_range is None or packet.pts is None:
            return True
        base = Fraction(packet.time_base)
        start = (packet.pts - self.shift) * base
        stop = time_range[1]
        if stop is not None and start >= stop - time_range[0]:
            return False
        if self.source.type == "subtitle" and packet.duration:
            return start + packet.duration * base > 0
        return start >= 0 or isinstance(self.converter, SoundConverter)

    def converted(self, packet: Any, *, is_cut: bool) -> Iterator[Any]:
        """Return what a packet of the input becomes, with its times in the output.

        Args:
            packet: Of PyAV.
            is_cut: A part of the input is kept: a subtitle that was already on screen begins at 0.
        """
        if isinstance(self.converter, SoundConverter):  # has a clock of its own
            yield from self.converter.take(packet)
            return
        if packet.pts is not None:
            packet.pts -= self.shift
        if packet.dts is not None:
            packet.dts -= self.shift
        if is_cut and packet.pts is not None and packet.pts < 0 and self.source.type == "subtitle":
            packet.duration += packet.pts
            packet.pts = packet.dts = 0
        if not packet.duration:
            packet.duration = packet_length(self.source, packet)
        if self.converter is not None:
            yield from self.converter.take(packet)
        else:
            yield packet

    def new_notes(self) -> list[str]:
        """Return what went wrong since this was asked the last time."""
        which = f"stream {self.source.index} ({stream_words(self.source)})"
        notes = []
        if self.num_refused:
            notes.append(f"{which}: {self.num_refused} damaged packets, which do not fit here, are left out")
            self.num_refused = 0
        if self.times is not None and self.times.num_moved:
            notes.append(f"{which}: times that go back, or repeat where they must not, were moved")
            self.times.num_moved = 0
        if self.converter is not None and self.converter.num_damaged:
            lost = "silent" if self.source.type == "audio" else "left out"
            notes.append(f"{which}: {self.converter.num_damaged} damaged packets are {lost} in the output")
            self.converter.num_damaged = 0
        return notes


def is_filler(stream: Any, packet: Any) -> bool:
    """Whether a packet is the empty text that MP4 puts between subtitles (its writer makes them anew)."""
    is_text = stream.codec_context is not None and stream.codec_context.name == "mov_text"
    return is_text and packet.size == 2 and bytes(packet) == b"\0\0"
