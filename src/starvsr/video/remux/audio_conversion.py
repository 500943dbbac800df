"""Sound coded anew: decoded, put onto the clock of the output sample by sample, and encoded.

Frames that follow each other closely are one run of samples; a gap in the times becomes silence, an overlap is
dropped, and so is what lies before 0 or outside the time range. So the sound stays in step with the pictures, and
there is silence where packets are damaged or missing. Encoders begin before the first sample; containers are told by
how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from starvsr.video.remux.audio_coders import SoundCoder

_SHORTEST_GAP = Fraction(1, 100)  # seconds: below, times are taken for rounded
_TICKS = 3  # by which a clock may be wrong
_COARSEST_TICK = 4  # samples: a coarser clock does not tell where sound ends
_CHUNK = 1024  # samples for an encoder that takes any number
_SILENCE = 1 << 16  # samples that are made at once

Samples = NDArray[Any]


class SoundConverter:
    """Turns packets of sound into those of another codec.

    Args:
        source: The stream of the input.
        target: The stream of the output, from `add_sound`.
        coder: What that encodes to.
        begins_at_zero: Whether the stream must begin at 0, with silence if need be.
    """

    def __init__(self, source: Any, target: Any, coder: SoundCoder, *, begins_at_zero: bool) -> None:
        self._source = source
        self._target = target
        self._coder = coder
        self._channels = av.AudioLayout(coder.layout).nb_channels
        self._format = av.AudioFormat(coder.sample_format)
        self._begins_at_zero = begins_at_zero
        self._offset = Fraction(0)
        self._limit: int | None = None
        self._run: _Run | None = None
        self._position: int | None = None  # of the next sample, in samples of the output
        self._pending: list[Samples] = []
        self._num_pending = 0
        self.num_damaged = 0

    def begin(self, offset: Fraction, length: Fraction | None) -> None:
        """Fix the clock.

        Args:
            offset: Seconds in the input's own times where the output is at 0.
            length: Seconds of the output; None for all of the input.
        """
        self._offset = offset
        self._limit = round(length * self._coder.rate) if length is not None else None

    def take(self, packet: Any) -> Iterator[Any]:
        """Give the packets that are ready when a packet is added."""
        for frame in self._decode(packet):
            yield from self._place(frame)

    def flush(self) -> Iterator[Any]:
        """Give the last packets."""
        for frame in self._decode(None):
            yield from self._place(frame)
        yield from self._end_run()
        yield from self._encode_pending(is_last=True)
        if self._position is not None:
            yield from self._stamped(self._target.codec_context.encode(None))

    def _decode(self, packet: Any) -> list[Any]:
        try:
            return list(self._source.codec_context.decode(packet))
        except (av.error.FFmpegError, ValueError):
            self.num_damaged += 1
            return []

    def _place(self, frame: Any) -> Iterator[Any]:
        if not frame.samples or not frame.sample_rate:
            return
        time = frame.pts * Fraction(frame.time_base) - self._offset if frame.pts is not None else None
        if self._run is None or not self._run.goes_on(frame, time):
            yield from self._end_run()
            self._run = _Run(frame, time if time is not None else self._end_time(), self._coder)
            yield from self._begin_at(round(self._run.start * self._coder.rate))
        for samples in self._run.feed(frame):
            yield from self._add(samples)

    def _end_time(self) -> Fraction:
        return Fraction(self._position or 0, self._coder.rate)

    def _end_run(self) -> Iterator[Any]:
        if self._run is not None:
            for samples in self._run.feed(None):
                yield from self._add(samples)
        self._run = None

    def _begin_at(self, start: int) -> Iterator[Any]:
        """Fill up with silence to where a run begins, or note how much of it is there already."""
        if self._position is None:
            self._position = 0 if self._begins_at_zero else max(start, 0)
        assert self._run is not None
        self._run.num_dropped = max(0, self._position - start)
        stop = start if self._limit is None else min(start, self._limit)
        while self._position < stop:
            yield from self._add(self._silence(min(stop - self._position, _SILENCE)), is_sound=False)

    def _silence(self, length: int) -> Samples:
        return np.zeros((self._channels, length), _dtype(self._format))

    def _add(self, samples: Samples, *, is_sound: bool = True) -> Iterator[Any]:
        """Take samples [channels, n] for the encoder, without those that are there already or too late."""
        assert self._position is not None
        if is_sound and self._run is not None and self._run.num_dropped:
            cut = min(self._run.num_dropped, samples.shape[1])
            self._run.num_dropped -= cut
            samples = samples[:, cut:]
        if self._limit is not None:
            samples = samples[:, : max(0, self._limit - self._position)]
        if samples.shape[1]:
            self._pending.append(samples)
            self._num_pending += samples.shape[1]
            self._position += samples.shape[1]
            yield from self._encode_pending(is_last=False)

    def _encode_pending(self, *, is_last: bool) -> Iterator[Any]:
        size = self._target.codec_context.frame_size or _CHUNK
        if not self._pending or (self._num_pending < size and not is_last):
            return
        samples = np.concatenate(self._pending, axis=1)
        assert self._position is not None
        first, place = self._position - self._num_pending, 0
        while self._num_pending - place >= size or (is_last and place < self._num_pending):
            chunk = samples[:, place : place + size]
            yield from self._stamped(self._target.codec_context.encode(self._frame(chunk, first + place)))
            place += chunk.shape[1]
        self._pending = [samples[:, place:]] if place < self._num_pending else []
        self._num_pending -= place

    def _frame(self, samples: Samples, position: int) -> Any:
        content = samples if self._format.is_planar else samples.T.reshape(1, -1)
        frame: Any = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(content), format=self._format.name, layout=self._coder.layout
        )
        frame.sample_rate, frame.pts, frame.time_base = self._coder.rate, position, Fraction(1, self._coder.rate)
        return frame

    def _stamped(self, packets: Any) -> Iterator[Any]:
        for packet in packets:
            packet.stream = self._target
            yield packet


class _Run:
    """Frames of equal shape that follow each other without a gap, resampled for the encoder.

    Args:
        frame: The first frame.
        start: Its time in seconds of the output.
        coder: What is encoded to.
    """

    def __init__(self, frame: Any, start: Fraction, coder: SoundCoder) -> None:
        self.start = start
        self.num_dropped = 0  # samples of the output that are left out
        self._rate = int(frame.sample_rate)
        self._shape = _shape(frame)
        self._channels = int(frame.layout.nb_channels)
        self._num_samples = 0
        self._tolerance = max(_SHORTEST_GAP, _TICKS * Fraction(frame.time_base or 0))
        planar = av.AudioFormat(coder.sample_format).planar.name
        self._resampler = av.AudioResampler(format=planar, layout=coder.layout, rate=coder.rate)

    def goes_on(self, frame: Any, time: Fraction | None) -> bool:
        """Whether a frame belongs to the run."""
        if _shape(frame) != self._shape:
            return False
        return time is None or abs(time - self.start - Fraction(self._num_samples, self._rate)) <= self._tolerance

    def feed(self, frame: Any) -> Iterator[Samples]:
        """Give the samples [channels, n] that are ready; None for the frame ends the run."""
        if frame is not None:
            frame = self._cut(frame)
            frame.pts, frame.time_base = self._num_samples, Fraction(1, self._rate)
            self._num_samples += frame.samples
        for done in self._resampler.resample(frame):
            if done is not None:
                yield done.to_ndarray()

    def _cut(self, frame: Any) -> Any:
        """Leave out what lies behind the end that a container tells, of a last frame that is filled up."""
        if not frame.duration or not frame.time_base:
            return frame
        tick = Fraction(frame.time_base) * self._rate
        length = round(frame.duration * tick)
        if tick > _COARSEST_TICK or length >= frame.samples - tick - 1:
            return frame
        samples = frame.to_ndarray().reshape(-1, frame.samples * (1 if frame.format.is_planar else self._channels))
        part: Any = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, : length * (1 if frame.format.is_planar else self._channels)]),
            format=frame.format.name,
            layout=frame.layout.name,
        )
        part.sample_rate = self._rate
        return part


def _shape(frame: Any) -> tuple[int, str, str]:
    return int(frame.sample_rate), frame.format.name, frame.layout.name


def _dtype(sample_format: Any) -> Any:
    return {"flt": np.float32, "s16": np.int16, "s32": np.int32}[sample_format.packed.name]
