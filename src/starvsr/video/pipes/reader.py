"""``PipeReader``: the frames of a video that comes through a pipe, in constant memory, as `VideoReader` gives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import av

from starvsr.errors import CorruptFrameError
from starvsr.video.convert import resolve_tags
from starvsr.video.info import VideoInfo
from starvsr.video.pipes.descriptor import DescriptorReader
from starvsr.video.pipes.opening import NAME, OpenedPipe, describe
from starvsr.video.pixels import dtype_for
from starvsr.video.read.decode import DamageControl, Pictures
from starvsr.video.read.frame_times import Picture, in_range, with_durations, with_times, within_limits
from starvsr.video.read.opening import reason
from starvsr.video.read.reader import VideoReader
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits
from starvsr.video.untrusted.stalls import QUICK, StallWatch


class PipeReader(VideoReader):
    """Read the frames of a pipe, once. They are those that `VideoReader` gives for a file of the same bytes.

    Args:
        source: Where it is read from.
        start: As in `VideoReader`.
        duration: As in `VideoReader`.
        deinterlace: As in `VideoReader`.
        on_corrupt: As in `VideoReader`.
        frame_rate: As in `VideoReader`.
        limits: What the input may ask for.
        wants_sound: Whether packets of sound are kept for who writes, in ``opened``.
        on_note: As in `VideoReader`.

    Attributes:
        opened: The container.

    Raises:
        UnreadableInputError: It is empty, or no video that can be read as it comes.
        LimitError: It asks for more than the limits allow.
    """

    def __init__(
        self,
        source: DescriptorReader,
        *,
        start: Fraction | None = None,
        duration: Fraction | None = None,
        deinterlace: str = "auto",
        on_corrupt: str = "error",
        frame_rate: Fraction | None = None,
        limits: Limits = DEFAULT_LIMITS,
        wants_sound: bool = False,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.opened = OpenedPipe(source, limits, wants_sound=wants_sound)
        self.info = describe(self.opened, frame_rate)
        self._begin(NAME, start, duration, on_note)
        self._deinterlace, self._on_corrupt = deinterlace, on_corrupt
        self._tags = resolve_tags(self.info.color, self.info.pixel_format, self.info.width, self.info.height)
        self._dtype = dtype_for(self.info.bit_depth)
        self._pictures = None
        self._end: Fraction | None = None
        self._is_cut_off = False
        for note in self.info.notes:
            self._note(note)
        if self.info.pixel_format.startswith("yuv") and self.info.interlaced and deinterlace == "off":
            self._note(f"{NAME}: interlaced, and left so; frames that hold two fields are enlarged as they are")

    def close(self) -> None:
        """Close the container; the descriptor stays open."""
        self.opened.close()

    def stop(self) -> None:
        """Give up reading, from another thread."""
        self.opened.source.stop()

    def read(self, skip: int = 0) -> Iterator[Any]:
        """Yield the frames; a pipe can be read only once."""
        return self._frames(skip)

    def check_complete(self) -> None:
        """Do nothing: a pipe that ends too early is noticed while it is read."""

    def _timed_pictures(self) -> Iterator[Picture]:
        pictures = _PipePictures(self.opened, self.info, self._deinterlace, self._on_corrupt, self._note)
        timed = within_limits(with_times(iter(pictures), self.info, self._note), self.info)
        ranged = in_range(timed, self.info, self.time_range)
        yield from with_durations(ranged, self.info, is_whole=self.time_range is None)

    def _note_fault(self) -> None:
        """Files are looked through again for faults that FFmpeg passes over; a pipe cannot be."""


class _PipePictures(Pictures):
    """One pass over the pictures of a pipe."""

    def __init__(
        self, opened: OpenedPipe, info: VideoInfo, deinterlace: str, on_corrupt: str, note: Callable[[str], None]
    ) -> None:
        super().__init__(info, start=None, deinterlace=deinterlace, on_corrupt=on_corrupt, fill_to=None, note=note)
        self._opened = opened

    def _video_frames(self) -> Iterator[Any]:
        opened, limits = self._opened, self._info.limits
        damage = DamageControl(self._info, self._on_corrupt, self._note, fill_to=None)
        watch = StallWatch(NAME, limits)
        packets = opened.decoded()
        while True:
            try:
                packet, frames = next(packets, (None, []))
            except av.error.FFmpegError as error:
                damage.on_file(error)
                break
            if packet is None:
                break
            damage.expect(packet)
            if not frames:
                began, began_work = time.monotonic(), time.process_time()
                try:
                    frames = opened.decoder.decode(packet)
                except av.error.EOFError:
                    break
                except av.error.FFmpegError as error:
                    watch.count(began, began_work)
                    damage.on_packet(packet, error, partial(reason, error))
                    continue
                if not frames or time.monotonic() - began > QUICK:
                    watch.count(began, began_work)
            for frame in frames:
                watch.spent = 0.0
                limits.check_size(NAME, frame.width, frame.height)
                yield from damage.around(frame)
        yield from damage.rest()
        self._check_end()

    def _check_end(self) -> None:
        """FFmpeg leaves out the last frame of y4m where it is cut off, and says nothing.

        Raises:
            CorruptFrameError: With ``on_corrupt="error"``.
        """
        opened = self._opened
        num_rest = opened.source.num_bytes - opened.video_end
        if self._info.container != "yuv4mpegpipe" or num_rest <= 0:
            return
        what = f"{NAME}: it ends within a frame: {num_rest} bytes of one that is cut off"
        if self._on_corrupt == "error":
            raise CorruptFrameError(f"{what}; see why the command that writes it ended, or use on-corrupt=skip")
        self._note(f"{what}, which is left out")
