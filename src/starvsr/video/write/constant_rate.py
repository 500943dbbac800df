"""A constant frame rate, as AVI has it: whether times of frames fit, and by how much they are moved."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import av

from starvsr.errors import OptionError
from starvsr.video.info import VideoInfo
from starvsr.video.read.opening import open_input
from starvsr.video.read.stream_choice import video_stream

_ROUNDED = Fraction(1, 1000)  # seconds by which containers round times


class ConstantRate:
    """Puts frames onto the ticks of a constant rate, one after the other.

    Args:
        name: What the output is called in messages.
        rate: Frames per second.
    """

    def __init__(self, name: str, rate: Fraction) -> None:
        self._name = name
        self._rate = rate
        self._last: int | None = None
        self._worst = Fraction(0)

    def place(self, time: Fraction) -> int:
        """Give the number of the tick that is nearest to a time.

        Args:
            time: Seconds since the first frame.

        Raises:
            OptionError: The frame before has that tick already: the rate is not constant.
        """
        tick = round(time * self._rate)
        if self._last is not None and tick <= self._last:
            raise OptionError(
                f"{self._name}: AVI holds frames at a constant rate alone, and here some at {float(time):.3f} s are"
                f" closer than at {float(self._rate):.6g} a second; write .mp4 or .mkv"
            )
        self._last = tick
        self._worst = max(self._worst, abs(time - tick / self._rate))
        return tick

    def notes(self, time_base: Fraction) -> list[str]:
        """Say by how much frames were moved, if it is more than rounding.

        Args:
            time_base: Seconds per tick of the times that were placed.
        """
        if self._worst <= max(_ROUNDED, time_base):
            return []
        moved = float(1000 * self._worst)
        return [f"{self._name}: frames were moved by up to {moved:.1f} ms, onto the constant rate of AVI"]


def check_constant_rate(info: VideoInfo, name: str) -> None:
    """Look at the times of a video's packets, without decoding any.

    Args:
        info: The input. Interlaced video is passed over: a packet may hold one field.
        name: What the output is called in messages.

    Raises:
        OptionError: Frames are closer than the nominal rate allows.
    """
    if info.kind != "video" or not info.has_timestamps or info.interlaced:
        return
    times: set[Fraction] = set()
    with open_input(info.path, limits=info.limits) as container, contextlib.suppress(av.error.FFmpegError):
        stream = video_stream(container, info.path)
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size and not packet.is_discard:
                times.add(packet.pts * Fraction(packet.time_base) - info.origin)
    shown = sorted(time for time in times if time >= info.start_time)
    rate = ConstantRate(name, info.frame_rate)
    for time in shown:
        rate.place(time - shown[0])
