"""``VideoReader``: frames one after the other, in constant memory, upright, with their own timestamps.

Rotation is applied to the pixels (what comes out is upright and needs no tag). Timestamps are those of
the file on ``VideoInfo.time_base``; for transport streams, whose clock starts anywhere, the earliest
start of all streams (``VideoInfo.origin``) is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from starvsr.errors import OptionError, UnreadableInputError
from starvsr.video.convert import Frame, resolve_tags, scaler_threads, to_rgb
from starvsr.video.float_samples import has_nan
from starvsr.video.info import VideoInfo
from starvsr.video.pixels import dtype_for
from starvsr.video.read.alpha_track import Beside, with_alpha
from starvsr.video.read.completeness import find_missing_part
from starvsr.video.read.decode import Pictures
from starvsr.video.read.frame_times import Picture, in_range, with_durations, with_times, within_limits
from starvsr.video.read.matroska_faults import find_fault
from starvsr.video.read.probe import probe
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits

_DEINTERLACE = ("auto", "on", "off")
_ON_CORRUPT = ("error", "skip", "conceal")
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
        self._begin(self.info.path, start, duration, on_note)
        self._check_range()
        self._deinterlace = deinterlace
        self._on_corrupt = on_corrupt
        self._tags = resolve_tags(self.info.color, self.info.pixel_format, self.info.width, self.info.height)
        self._dtype = dtype_for(self.info.bit_depth)
        self._pictures: Pictures | None = None
        self._end: Fraction | None = None
        for note in self.info.notes:
            self._note(note)
        self._check_cut_off()

    def _begin(
        self,
        path: Path,
        start: Fraction | None,
        duration: Fraction | None,
        on_note: Callable[[str], None] | None,
    ) -> None:
        """Keep what readers of every kind are given, wherever they decode."""
        self.path = path
        self.notes: list[str] = []
        self.num_frames_read = 0
        self._on_note = on_note
        self._start = Fraction(start) if start else None
        self._duration = Fraction(duration) if duration is not None else None

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
        pictures, self._pictures = self._pictures, None
        if pictures is not None:
            pictures.close()

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
        yield from self._frames(skip)
        self.close()

    def _frames(self, skip: int) -> Iterator[VideoFrame]:
        self.num_frames_read = 0
        last: Any = None
        index = 0
        for picture in self._timed_pictures():
            image = last if picture.image is None else picture.image
            last = image if self._on_corrupt == "conceal" else None
            pts = picture.pts or 0
            if index >= skip:
                pixels = self._to_pixels(image)
                yield VideoFrame(index, pts, self.info.time_base, picture.duration, pixels, self.info.bit_depth)
            index += 1
            self.num_frames_read = index
            self._end = (pts + picture.duration) * self.info.time_base
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

    # ---- pictures

    def _timed_pictures(self) -> Iterator[Picture]:
        is_whole = self.time_range is None
        self._pictures = Pictures(
            self._needed(),
            start=self._start,
            deinterlace=self._deinterlace,
            on_corrupt=self._on_corrupt,
            fill_to=self.info.num_frames if is_whole and not self._is_cut_off else None,
            note=self._note,
        )
        timed = within_limits(with_times(iter(self._pictures), self.info, self._note), self.info)
        yield from with_durations(in_range(timed, self.info, self.time_range), self.info, is_whole=is_whole)

    def _needed(self) -> VideoInfo:
        """Return the input without the images after the chosen part, which may be of other sizes or damaged."""
        info, stop = self.info, None if self.time_range is None else self.time_range[1]
        return info if stop is None else replace(info, files=info.files[: math.ceil(stop * info.frame_rate)])

    def _to_pixels(self, image: Any) -> Frame:
        info = self.info
        if isinstance(image, np.ndarray):
            return self._fitted(image)
        beside = image.opaque if isinstance(image.opaque, Beside) else Beside()
        matrix = beside.turn or info.display_matrix
        if info.kind == "video" and (image.width, image.height) != (info.coded_width, info.coded_height):
            self._note(f"{self.path.name}: the picture size changes within the file; scaled to the first size")
            image = image.reformat(width=info.coded_width, height=info.coded_height, threads=scaler_threads(image))
        tags = self._tags
        if image.format.name != info.pixel_format:
            tags = resolve_tags(info.color, image.format.name, info.width, info.height)
        if has_nan(image):
            self._note(f"{self.path.name}: samples that are no numbers (NaN) are taken for black")
        pixels = to_rgb(image, tags, alpha=info.has_alpha)
        if beside.alpha is not None and info.has_alpha:
            pixels = with_alpha(pixels, beside.alpha)
        return _turn(self._fitted(pixels), matrix)

    def _fitted(self, pixels: Any) -> Any:
        """Bring pixels to the type and the channels that are promised; what has no transparency is opaque."""
        if pixels.dtype != self._dtype:
            pixels = (pixels // 257).astype(np.uint8) if self._dtype == np.uint8 else pixels.astype(np.uint16) * 257
        if self.info.has_alpha and pixels.shape[2] == 3:
            return with_alpha(pixels, None)
        return pixels if self.info.has_alpha else pixels[..., :3]


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
