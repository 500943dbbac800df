"""The sound of an input, copied in step with the pictures into an output that is written as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av

from starvsr.video.info import VideoInfo
from starvsr.video.pipes.descriptor import STANDARD_OUTPUT
from starvsr.video.pipes.opening import OpenedPipe
from starvsr.video.read.opening import open_input


class Sound:
    """Packets of sound up to a time. Made by `sound_of_pipe` and `sound_of_file`.

    Args:
        streams: The streams of sound.
        waiting: Packets that were read and not written yet.
        origin: Seconds to take off all times.
        further: Where packets come from when none is waiting; None where something else puts them there.
        close: Called when no more are wanted.
    """

    def __init__(
        self,
        streams: list[Any],
        waiting: deque[Any],
        origin: Fraction,
        further: Iterator[Any] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._streams, self._waiting, self._origin = streams, waiting, origin
        self._further = iter(()) if further is None else further
        self._known: frozenset[int] = frozenset()
        self.close = close

    def add_to(self, container: Any, note: Callable[[str], None]) -> dict[int, Any]:
        """Add the streams to an output that is not begun.

        Returns:
            The stream of the output for each index of the input.
        """
        added = {}
        for stream in self._streams:
            try:
                added[stream.index] = container.add_stream_from_template(stream)
            except (av.error.FFmpegError, ValueError) as error:
                note(f"{STANDARD_OUTPUT}: sound as {stream.codec_context.name} is left out ({error})")
        self._known = frozenset(added)
        return added

    def packets(self, before: Fraction | None) -> Iterator[Any]:
        """Yield the packets that begin before a time in seconds, or all that are left; each once."""
        while self._waiting or self._fetch():
            packet = self._waiting[0]
            base = Fraction(packet.time_base)
            ticks = round(self._origin / base)
            if before is not None and (packet.dts - ticks) * base >= before:
                return
            self._waiting.popleft()
            if packet.stream_index in self._known:
                packet.dts -= ticks
                packet.pts = packet.dts if packet.pts is None else packet.pts - ticks
                yield packet

    def _fetch(self) -> bool:
        packet = next(self._further, None)
        if packet is not None:
            self._waiting.append(packet)
        return packet is not None


def sound_of_pipe(opened: OpenedPipe, info: VideoInfo) -> Sound | None:
    """Give the sound of a pipe, whose packets come while its pictures are read; None where it has none."""
    return Sound(opened.sound, opened.sound_packets, info.origin) if opened.sound else None


def sound_of_file(info: VideoInfo) -> Sound | None:
    """Give the sound of a file, which is opened once more; None where it has none."""
    if info.kind != "video" or not info.has_audio:
        return None
    container = open_input(info.path, limits=info.limits)
    streams = list(container.streams.audio)
    packets = (packet for packet in container.demux(streams) if packet.size and packet.dts is not None)
    return Sound(streams, deque(), info.origin, packets, container.close)
