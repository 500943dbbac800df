"""``VideoReader``: frames one after the other, in constant memory, upright, with their own timestamps.

Rotation is applied to the pixels (what comes out is upright and needs no tag). Timestamps are those of
the file on ``VideoInfo.time_base``; for transport streams, whose clock starts anywhere, the earliest
start of all streams (``VideoInfo.origin``) is taken off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from starvsr.errors import CorruptFrameError, OptionError, UnreadableInputError
from starvsr.video.completeness import find_missing_part
from starvsr.video.convert import Frame, resolve_tags, to_rgb
from starvsr.video.damage import DamageControl, Picture
from starvsr.video.deinterlace import Deinterlacer
from starvsr.video.info import VideoInfo
from starvsr.video.limits import DEFAULT_LIMITS, Limits
from starvsr.video.matroska_faults import find_fault
from starvsr.video.opening import open_input
from starvsr.video.pixels import dtype_for
from starvsr.video.probing import probe
from starvsr.video.side_data import orientation, side_notes
from starvsr.video.stalls import MOST_UNDER_WAY, StallWatch, refusal, within_limits
from starvsr.video.stream_choice import decoder_for, video_stream
from starvsr.video.webp import webp_frames

_DEINTERLACE = ("auto", "on", "off")
_ON_CORRUPT = ("error", "skip", "conceal")
_LONGEST_LAST = 250  # frames: a longer last frame is a wrong header rather than a still
_ELEMENTS = (10_000, 100)  # of a Matroska file that are looked at: at least, and for each frame


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        index: Position among the frames that are read, from 0.
        pts: Presentation time in ticks of ``time_base``.
        time_base: Seconds per tick.
        duration: Ticks until the next frame (for the last one: what the file says).
        pixels: [H, W, 3 or 4] full-range RGB(A), uint8, or uint16 (0..65535) above 8 bits.
        bit_depth: Significant bits of the source.
    """

    index: int
    pts: int
    time_base: Fraction
    duration: int
    pixels: Frame
    bit_depth: int


class VideoReader:
    """Read the frames of a video, GIF, image, image folder or numbered pattern.

    Iterating twice reads twice. ``notes`` collects what the user should know, one sentence each.

    Args:
        path: The input.
        start: Skip what is shown before this many seconds after the first frame.
        duration: Stop after this many seconds; None reads to the end.
        deinterlace: ``auto`` deinterlaces frames that are flagged interlaced, ``on`` all, ``off`` none.
            The number of frames stays.
        on_corrupt: What to do with damaged frames and cut-off files: ``error`` raises, ``skip`` leaves the
            damaged frames out, ``conceal`` shows the frame before in their place, so that the count stays.
        frame_rate: Rate for images (default 24) and raw streams.
        info: What ``probe`` said about the same path, to spare asking again; it knows its limits.
        limits: What the input may ask for, where ``info`` is not given.
        on_note: Called with each note when it arises.

    Raises:
        InputNotFoundError: There is no such file or folder.
        UnreadableInputError: It is not media, or (with ``on_corrupt="error"``) cut off.
        LimitError: It asks for more than the limits allow.
        OptionError: An argument has a wrong value, or ``start`` lies behind the end.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        start: Fraction | None = None,
        duration: Fraction | None = None,
        deinterlace: str = "auto",
        on_corrupt: str = "error",
        frame_rate: Fraction | None = None,
        info: VideoInfo | None = None,
        limits: Limits = DEFAULT_LIMITS,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        _check_choice("deinterlace", deinterlace, _DEINTERLACE)
        _check_choice("on_corrupt", on_corrupt, _ON_CORRUPT)
        self.info = info or probe(path, frame_rate=frame_rate, limits=limits)
        self.path = self.info.path
        self.notes: list[str] = []
        self._on_note = on_note
        self._start = Fraction(start) if start else None
        self._duration = Fraction(duration) if duration is not None else None
        self._check_range()
        self._deinterlace = deinterlace
        self._on_corrupt = on_corrupt
        self._tags = resolve_tags(self.info.color, self.info.pixel_format, self.info.width, self.info.height)
        self._container: Any = None
        self.num_frames_read = 0
        self._end: Fraction | None = None
        for note in self.info.notes:
            self._note(note)
        self._check_cut_off()

    @property
    def time_range(self) -> tuple[Fraction, Fraction | None] | None:
        """Seconds on the input's timeline that are read: (start, stop), stop None for the end; None for all."""
        if self._start is None and self._duration is None:
            return None
        begin = self.info.start_time + (self._start or 0)
        return begin, None if self._duration is None else begin + self._duration

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when already closed."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames in the order they are shown.

        Raises:
            CorruptFrameError: A frame is damaged and ``on_corrupt`` is ``error``.
        """
        return self.read()

    def read(self, skip: int = 0) -> Iterator[VideoFrame]:
        """Yield the frames from the beginning or a later one.

        Args:
            skip: Frames to pass over. They are decoded, for what follows may depend on them, but not converted.

        Raises:
            CorruptFrameError: A frame is damaged and ``on_corrupt`` is ``error``.
        """
        self.close()
        self.num_frames_read = 0
        last: Any = None
        index = 0
        watched = within_limits(self._with_times(self._pictures()), self.info)
        for picture in self._with_durations(self._in_range(watched)):
            image = last if picture.image is None else picture.image
            last = image if self._on_corrupt == "conceal" else None
            pts = picture.pts or 0
            if index >= skip:
                pixels = self._to_pixels(image)
                yield VideoFrame(index, pts, self.info.time_base, picture.duration, pixels, self.info.bit_depth)
            index += 1
            self.num_frames_read = index
            self._end = (pts + picture.duration) * self.info.time_base
        self.close()
        if index == 0:
            self._raise_nothing_read()
        self._note_missing_end()
        self._note_fault()

    def check_complete(self) -> None:
        """After reading to the end: refuse when the file promised noticeably more than it gave.

        Raises:
            UnreadableInputError: The last frame ends more than a second before the promised end.
        """
        missing = self._missing_at_end()
        if missing:
            raise UnreadableInputError(missing)

    # ---- checks

    def _check_range(self) -> None:
        if self._start is not None and self._start < 0:
            raise OptionError(f"start must be 0 or more seconds, got {float(self._start):g}")
        if self._duration is not None and self._duration <= 0:
            raise OptionError(f"duration must be more than 0 seconds, got {float(self._duration):g}")
        length = self.info.duration
        if self._start is not None and length is not None and self._start >= length:
            raise OptionError(
                f"start {float(self._start):g} s lies behind the end of {self.path.name} ({float(length):g} s);"
                " choose an earlier start"
            )

    def _check_cut_off(self) -> None:
        missing = find_missing_part(self.info) if self.info.kind == "video" else None
        self._is_cut_off = missing is not None
        if missing is None:
            return
        if self._on_corrupt == "error":
            raise UnreadableInputError(
                f"{self.path}: cut off: {missing}; get the whole file, or read what is there with on-corrupt=skip"
            )
        self._note(f"{self.path.name}: cut off: {missing}")

    def _missing_at_end(self) -> str | None:
        promised = self._promised_end()
        if self._end is None or promised is None or self.info.kind != "video" or self._duration is not None:
            return None
        gap = promised - self._end
        if gap <= max(Fraction(1), 3 / self.info.frame_rate):
            return None
        return (
            f"{self.path}: the pictures end {float(gap):.2f} s before the promised end"
            f" ({self.num_frames_read} frames were readable); check whether the file is complete"
        )

    def _promised_end(self) -> Fraction | None:
        """Say where the pictures should end, where the file tells it of them alone: sound may be longer."""
        info = self.info
        if info.end_time is not None:
            return info.end_time
        is_alone = all(stream.kind not in ("audio", "subtitle", "data") for stream in info.streams)
        return info.start_time + info.duration if is_alone and info.duration is not None else None

    def _note_missing_end(self) -> None:
        missing = self._missing_at_end()
        if missing:
            self._note(missing)

    def _note_fault(self) -> None:
        """Name what FFmpeg's reader of Matroska passes over in silence: blocks whose sizes do not fit."""
        is_matroska = self.info.kind == "video" and self.info.container.startswith("matroska")
        if not is_matroska or self._is_cut_off or self.time_range is not None:
            return
        at_least, each = _ELEMENTS
        place = find_fault(self.path, at_least + each * self.num_frames_read)
        if place is not None:
            self._note(
                f"{self.path.name}: damaged at byte {place}, where sizes do not fit; frames may be missing there"
            )

    def _raise_nothing_read(self) -> None:
        if self._start is not None:
            raise OptionError(f"{self.path.name}: no frame at or after the chosen start; choose an earlier one")
        raise UnreadableInputError(f"{self.path}: no frame could be read; check or convert the file")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            if self._on_note is not None:
                self._on_note(text)

    # ---- from file to pictures

    def _pictures(self) -> Iterator[Picture]:
        if self.info.kind == "animation":
            yield from self._webp_pictures()
            return
        frames = self._image_frames() if self.info.kind == "images" else self._video_frames()
        if self._deinterlace == "off" or self.info.kind != "video":
            yield from (_picture(frame) for frame in frames)
            return
        yield from self._deinterlaced(frames)

    def _deinterlaced(self, frames: Iterator[Any]) -> Iterator[Picture]:
        """Start the filter at the first interlaced frame; progressive videos never meet it."""
        filter_: Deinterlacer | None = None
        for frame in frames:
            if filter_ is None and not isinstance(frame, Picture) and self._wants_filter(frame):
                filter_ = Deinterlacer(only_flagged=self._deinterlace == "auto")
                self._note(f"{self.path.name}: interlaced, deinterlaced frame by frame (bwdif)")
            if filter_ is None or isinstance(frame, Picture):
                yield _picture(frame)
            else:
                yield from (_picture(done) for done in filter_.push(frame))
        if filter_ is not None:
            yield from (_picture(done) for done in filter_.flush())

    def _wants_filter(self, frame: Any) -> bool:
        return self._deinterlace == "on" or bool(frame.interlaced_frame)

    def _video_frames(self) -> Iterator[Any]:
        container = self._container = open_input(self.path, limits=self.info.limits)
        stream = video_stream(container, self.path)
        if self._start is not None and self.info.has_timestamps:
            container, stream = self._seek(container, stream)
        decoder = decoder_for(stream)
        damage = DamageControl(self.info, self._on_corrupt, self._note, fill_to=self._promised_count())
        packets = iter(container.demux(stream))
        watch = StallWatch(self.path, self.info.limits)
        recent: deque[Any] = deque(maxlen=MOST_UNDER_WAY)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                damage.on_file(error)
                break
            if packet is None:
                break
            damage.expect(packet)
            recent.append(packet)
            try:
                with watch:
                    frames = decoder.decode(packet)
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                damage.on_packet(packet, error, lambda: refusal(decoder, recent, self.info.limits))
                continue
            for frame in frames:
                watch.frame()
                self.info.limits.check_size(self.path, frame.width, frame.height)
                for note in side_notes(self.path, frame):
                    self._note(note)
                yield from damage.around(frame)
        yield from damage.rest()

    def _promised_count(self) -> int | None:
        """Give the number of frames to conceal up to: none for parts and for files that are cut off."""
        return None if self._is_cut_off or self.time_range is not None else self.info.num_frames

    def _seek(self, container: Any, stream: Any) -> tuple[Any, Any]:
        """Go to the keyframe at or before the start; if the container lands behind it, read from the beginning."""
        target = self.info.start_time + (self._start or 0) + self.info.origin
        try:
            container.seek(int(target / Fraction(stream.time_base)), stream=stream)
            first = next((p for p in container.demux(stream) if p.pts is not None), None)
            is_before = first is not None and first.pts * Fraction(stream.time_base) <= target
            if is_before:
                container.seek(int(target / Fraction(stream.time_base)), stream=stream)
                return container, stream
        except av.error.FFmpegError:
            pass
        container.close()
        self._container = open_input(self.path, limits=self.info.limits)
        return self._container, video_stream(self._container, self.path)

    def _image_frames(self) -> Iterator[Any]:
        for index, file in enumerate(self.info.files):
            with open_input(file, limits=self.info.limits) as container:
                try:
                    frame = next(container.decode(video=0), None)
                except av.error.FFmpegError:
                    frame = None
            if frame is None:
                yield from self._bad_image(index, file)
                continue
            turned = orientation(frame, file)
            upright = (frame.height, frame.width) if turned and turned[0] == 0 else (frame.width, frame.height)
            if upright != (self.info.width, self.info.height):
                raise UnreadableInputError(
                    f"{file}: {upright[0]}x{upright[1]}, but the first image is {self.info.width}x{self.info.height};"
                    " put images of one size into one folder"
                )
            frame.pts, frame.duration, frame.time_base = index, 1, self.info.time_base
            frame.opaque = turned  # each photo may be turned in its own way
            yield frame

    def _bad_image(self, index: int, file: Path) -> Iterator[Picture]:
        if self._on_corrupt == "error":
            raise CorruptFrameError(f"{file}: damaged image; replace it, or go on with on-corrupt=skip")
        self._note(f"{file.name}: damaged image, {'repeated the one before' if self._conceals else 'left out'}")
        if self._conceals and index > 0:
            yield Picture(index, 1, None)

    @property
    def _conceals(self) -> bool:
        return self._on_corrupt == "conceal"

    def _webp_pictures(self) -> Iterator[Picture]:
        pts = 0
        for pixels, duration in webp_frames(self.info, self._on_corrupt):
            yield Picture(pts, duration, pixels)
            pts += duration

    # ---- times

    def _with_times(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Shift by the origin, fill in missing timestamps and make them increase."""
        base = self.info.time_base
        step = max(1, round(1 / (self.info.frame_rate * base)))
        shift = round(self.info.origin / base)
        previous: int | None = None
        for number in count():
            picture = next(pictures, None)
            if picture is None:
                return
            if self.info.kind == "video" and not self.info.has_timestamps:
                pts, duration = number, 1
            else:
                missing = 0 if previous is None else previous + step
                pts = missing if picture.pts is None else picture.pts - shift
                duration = picture.duration
            if previous is not None and pts <= previous:
                self._note(f"{self.path.name}: some timestamps do not increase; those frames were moved by a tick")
                pts = previous + 1
            previous = pts
            yield replace(picture, pts=pts, duration=duration)

    def _in_range(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        if self.time_range is None:
            yield from pictures
            return
        start, stop = self.time_range
        for picture in pictures:
            time = (picture.pts or 0) * self.info.time_base
            if stop is not None and time >= stop:
                return
            if time >= start:
                yield picture

    def _with_durations(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """Set each duration to the distance to the next frame; the last keeps the file's word."""
        step = max(1, round(1 / (self.info.frame_rate * self.info.time_base)))
        held: Picture | None = None
        for picture in pictures:
            if held is not None:
                yield replace(held, duration=(picture.pts or 0) - (held.pts or 0))
            held = picture
        if held is not None:
            yield replace(held, duration=self._last_duration(held, step))

    def _last_duration(self, picture: Picture, step: int) -> int:
        """Take the end of the track, else the length of the packet (field-coded streams give half of it)."""
        if self.info.end_time is not None and self.time_range is None:
            rest = round(self.info.end_time / self.info.time_base) - (picture.pts or 0)
            if 0 < rest <= max(_LONGEST_LAST * step, picture.duration):
                return rest
        return picture.duration if picture.duration > 0 and not self.info.interlaced else step

    # ---- pixels

    def _to_pixels(self, image: Any) -> Frame:
        if isinstance(image, np.ndarray):
            return image
        info = self.info
        matrix = (info.kind == "images" and image.opaque) or info.display_matrix
        if info.kind == "video" and (image.width, image.height) != (info.coded_width, info.coded_height):
            self._note(f"{self.path.name}: the picture size changes within the file; scaled to the first size")
            image = image.reformat(width=info.coded_width, height=info.coded_height)
        tags = self._tags
        if image.format.name != info.pixel_format:
            tags = resolve_tags(info.color, image.format.name, info.width, info.height)
        pixels = to_rgb(image, tags, alpha=info.has_alpha)
        if pixels.dtype != dtype_for(info.bit_depth):
            pixels = (pixels // 257).astype(np.uint8) if info.bit_depth <= 8 else pixels.astype(np.uint16) * 257
        return _turn(pixels, matrix)


def _picture(frame: Any) -> Picture:
    return frame if isinstance(frame, Picture) else Picture(frame.pts, frame.duration or 0, frame)


def _turn(pixels: Any, matrix: tuple[int, int, int, int]) -> Any:
    """Turn and flip so that stored pixel (x, y) lands at (a x + c y, b x + d y)."""
    a, b, c, d = matrix
    if a == 0:
        pixels = pixels.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return np.ascontiguousarray(pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
