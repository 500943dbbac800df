"""Frames into a pipe: y4m for players, FFmpeg and encoders, or NUT with times and sound."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np

from starvsr.video.convert import Frame, flatten, from_rgb
from starvsr.video.pipes.descriptor import STANDARD_OUTPUT, DescriptorWriter
from starvsr.video.pipes.formats import NUT, PipeFormat, y4m_header
from starvsr.video.pipes.sound import Sound

_UNEVEN = Fraction(1, 2)  # of a frame, by which a time may be off


class Y4mWriter:
    """Writes y4m: raw planes behind one line of text. It knows a rate and no times.

    Args:
        form: What frames are made of.
        target: Where they go.
        note: Called with what the user should know.
    """

    def __init__(self, form: PipeFormat, target: DescriptorWriter, note: Callable[[str], None]) -> None:
        self._form, self._target, self._note = form, target, note
        self._first: int | None = None
        self._num_frames = 0

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write a frame [H, W, 3 or 4], full range.

        Raises:
            OutputError: It cannot be written.
        """
        form = self._form
        if self._first is None:
            self._first = pts
            self._target.write(y4m_header(form))
        off = (pts - self._first) * form.time_base * form.frame_rate - self._num_frames
        if abs(off) > _UNEVEN:
            self._note(
                f"{STANDARD_OUTPUT}: frames of the input are not evenly spaced in time, and y4m knows a rate alone: "
                "they are written one after the other; --pipe-format nut keeps times"
            )
        frame = from_rgb(flatten(pixels) if pixels.shape[2] == 4 else pixels, form.pixel_format, form.color)
        self._target.write(b"FRAME\n" + b"".join(_samples(plane, form) for plane in frame.planes))
        self._num_frames += 1

    def close(self) -> None:
        """Do nothing: each frame is whole when it is written."""


def _samples(plane: Any, form: PipeFormat) -> bytes:
    """Return the samples of a plane without the padding of its rows."""
    width = plane.width * (1 if form.pixel_format in ("yuv420p", "yuv422p", "yuv444p", "gray") else 2)
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, :width].tobytes()


class NutWriter:
    """Writes NUT: uncompressed pictures with their times, and the sound of the input as it is.

    Args:
        form: What frames are made of.
        target: Where they go.
        note: Called with what the user should know.
        sound: The sound of the input; None for none.
    """

    def __init__(
        self, form: PipeFormat, target: DescriptorWriter, note: Callable[[str], None], sound: Sound | None = None
    ) -> None:
        self._form, self._sound = form, sound
        self._container: Any = av.open(target, "w", format=NUT, options={"flush_packets": "1"})
        stream: Any = self._container.add_stream("rawvideo", rate=form.frame_rate)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, form.pixel_format
        stream.time_base = stream.codec_context.time_base = form.time_base
        self._stream = stream
        self._copies = {} if sound is None else sound.add_to(self._container, note)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write a frame [H, W, 3 or 4], full range, and the sound before it.

        Raises:
            OutputError: It cannot be written.
        """
        self._write_sound(pts * self._form.time_base)
        if pixels.shape[2] == 4 and not self._form.has_alpha:
            pixels = flatten(pixels)
        frame = from_rgb(pixels, self._form.pixel_format, self._form.color)
        frame.pts, frame.time_base = pts, self._form.time_base
        for packet in self._stream.encode(frame):
            packet.duration = duration
            self._container.mux(packet)

    def close(self) -> None:
        """Write the rest of the sound and the index; after an error that only lets go."""
        try:
            self._write_sound(None)
        finally:
            with contextlib.suppress(av.error.FFmpegError):
                self._container.close()

    def _write_sound(self, before: Fraction | None) -> None:
        if self._sound is not None:
            for packet in self._sound.packets(before):
                packet.stream = self._copies[packet.stream_index]
                self._container.mux(packet)
