"""Decoders that work without end, and pictures that they refuse for their size."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av

from starvsr.errors import InputError
from starvsr.video.read.opening import captured_log, decoder_options, open_input
from starvsr.video.untrusted.limits import Limits

_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) (?:exceeds|is invalid)")
_LOOK_AT = 64  # packets
QUICK = 1.0  # seconds: a call that takes longer counts even if it gives a frame
MOST_UNDER_WAY = 64  # packets that a decoder may hold before it refuses one


class StallWatch:
    """Counts the work that is done without a frame coming out.

    What counts is the smaller of time and processor time: a process that is halted, or waits for a slow disk, does
    not work. A single call that never comes back is not noticed here, but where decoding has a process of its own.

    Args:
        path: The input.
        limits: ``max_stall`` counts.

    Attributes:
        spent: Seconds of work since the last frame; whoever gets a frame sets it to 0.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self.spent = 0.0

    def count(self, began: float, began_work: float) -> None:
        """Count a call of the decoder that gave no frame, or took longer than :data:`QUICK`.

        Args:
            began: `time.monotonic` when it began.
            began_work: `time.process_time` then.

        Raises:
            LimitError: More than ``max_stall`` seconds of such work.
        """
        self.spent += min(time.monotonic() - began, time.process_time() - began_work)
        if self.spent > self._limits.max_stall:
            self._limits.refuse(self._path, f"{self.spent:.0f} seconds of decoding without a frame", "max_stall")


def refused_size(path: Path, limits: Limits) -> tuple[int, int]:
    """Find out whether pictures were refused for their size: (width, height), or (0, 0) when that was not it."""
    with captured_log() as lines:
        try:
            with open_input(path, limits=limits) as container:
                _decode_some(container)
        except (av.error.FFmpegError, InputError):
            pass
    return _size_in(lines)


def refusal(decoder: Any, recent: Iterable[Any], limits: Limits) -> str | None:
    """Say whether it was the size of a picture that a decoder could not stand: its last packets are tried once more.

    Args:
        decoder: The decoder that failed.
        recent: The last packets it was given, so many that the one that it refused is among them.
        limits: What the input may ask for.
    """
    fresh: Any = av.CodecContext.create(decoder.name, "r")
    fresh.extradata = decoder.extradata
    fresh.options = decoder_options(limits)
    fresh.thread_count = 1
    with captured_log() as lines:
        for packet in recent:
            with contextlib.suppress(av.error.FFmpegError):
                fresh.decode(packet)
    width, height = _size_in(lines)
    if width * height <= limits.max_pixels:
        return None
    return f"it has {width}x{height} pixels, more than the limit of {limits.max_pixels} that --max-pixels raises"


def _size_in(lines: list[str]) -> tuple[int, int]:
    """Find the size in what FFmpeg said about pictures that are too large; (0, 0) when there is none."""
    for line in lines:
        found = _TOO_LARGE.search(line)
        if found and int(found.group(1)) * int(found.group(2)):
            return int(found.group(1)), int(found.group(2))
    return 0, 0


def _decode_some(container: Any) -> None:
    stream = container.streams.video[0]
    for count, packet in enumerate(container.demux(stream)):
        with contextlib.suppress(av.error.FFmpegError):
            stream.codec_context.decode(packet)
        if count > _LOOK_AT:
            return
