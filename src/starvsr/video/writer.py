"""``VideoWriter``: encode frames with their own timestamps and copy everything else of the input.

The output appears under its name only when it is whole. A file is written as ``.NAME.PID.partial.EXT``
beside its final place, flushed, looked at once more, and renamed; an exception leaves nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np

from starvsr.errors import OptionError, OutputError, OutputNotWritableError, StarVsrError
from starvsr.video.convert import Frame, flatten, from_rgb
from starvsr.video.copying import StreamCopier, needs_free_tags
from starvsr.video.encoders import EncodeOptions, EncodePlan, container_of, plan_encoding, quiet_encoders
from starvsr.video.image_writer import ImageWriter
from starvsr.video.images import is_pattern
from starvsr.video.info import VideoInfo
from starvsr.video.matroska_aspect import PLACEHOLDER_DEGREES, write_aspect
from starvsr.video.opening import captured_log, reason
from starvsr.video.output_files import as_output_error, check_output, discard, partial_path, publish

_DEFAULT_RATE = Fraction(25)
_MAX_TIMESCALE = 2**31 - 1
_MAX_SHARED_CLOCK = 1_000_000


class _Sink(Protocol):
    """What takes the frames: an encoder with a container, or a folder of images."""

    notes: list[str]

    def write(self, pixels: Frame, pts: int, duration: int) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


class VideoWriter:
    """Write frames to ``.mp4``, ``.mov``, ``.mkv``, ``.webm``, a PNG folder, a numbered pattern or one image.

    Args:
        path: The output. A name without suffix is a folder of PNG files.
        source: The input, whose other streams, tags, colours and times are carried over; None for none.
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        options: How to encode.
        time_range: ``VideoReader.time_range`` when only a part of the input is read: other streams are cut to
            it and the output starts at 0. None keeps all streams and all timestamps.
        overwrite: Whether an existing output may be replaced.
        time_base: Seconds per tick of the timestamps given to ``write``; None takes the input's.
        frame_rate: Nominal rate; None takes the input's.
        bit_depth: Significant bits of the frames; None takes the input's.
        alpha: Whether frames have four channels; None takes the input's.
        comment: Text for the container's comment tag, where the input has none of its own; images hold none.
        on_note: Called with each note when it arises; all are in ``notes``.

    Raises:
        OptionError: The options do not fit the container, the size or the input.
        OutputExistsError: The output is there and ``overwrite`` is False.
        OutputNotWritableError: Its folder is missing or closed to us, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        source: VideoInfo | None,
        width: int,
        height: int,
        options: EncodeOptions | None = None,
        time_range: tuple[Fraction, Fraction | None] | None = None,
        overwrite: bool = False,
        time_base: Fraction | None = None,
        frame_rate: Fraction | None = None,
        bit_depth: int | None = None,
        alpha: bool | None = None,
        comment: str | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.source = source
        self.width, self.height = width, height
        self.options = options or EncodeOptions()
        self.frame_rate = frame_rate or (source.frame_rate if source else _DEFAULT_RATE)
        self.time_base = time_base or (source.time_base if source else 1 / self.frame_rate)
        self.notes: list[str] = []
        self.num_frames = 0
        self.comment = comment
        self._on_note = on_note
        self._bit_depth = bit_depth or (source.bit_depth if source else 8)
        self._alpha = (source.has_alpha if source else False) if alpha is None else alpha
        self._time_range = time_range
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._is_done = False
        inputs = (source.path, *source.files) if source else ()
        target = self.path.parent if is_pattern(self.path) else self.path
        check_output(target, inputs=inputs, overwrite=overwrite)
        self._sink = self._make_sink(target)

    @property
    def channels(self) -> int:
        """Channels that ``write`` takes: 4 when transparency is kept or was asked to be dropped, else 3."""
        return 4 if self._alpha else 3

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write the next frame.

        Args:
            pixels: [height, width, 3 or 4] uint8, or uint16 (0..65535); full-range RGB(A).
            pts: Presentation time in ticks of ``time_base``; must increase.
            duration: Ticks that the frame is shown.

        Raises:
            OutputNotWritableError: The disk is full or gone.
            ValueError: The array has another size or type, or the time does not increase.
        """
        self._check_frame(pixels, pts)
        if self._first_pts is None:
            self._first_pts = pts if self._time_range is not None else 0
        self._last_pts = pts
        try:
            self._sink.write(pixels, pts - self._first_pts, duration)
        except StarVsrError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            raise as_output_error(self.path, error) from None
        self.num_frames += 1
        self._take_notes()

    def close(self) -> None:
        """Finish the output and give it its name.

        Raises:
            OutputError: No frame was written, or the result is not whole.
            OutputNotWritableError: The disk is full or gone.
        """
        if self._is_done:
            return
        try:
            if self.num_frames == 0:
                raise OutputError(f"{self.path}: no frame was written, so there is nothing to keep")
            self._sink.finish()
            self._take_notes()
        except (av.error.FFmpegError, OSError) as error:
            self.abort()
            raise as_output_error(self.path, error) from None
        except BaseException:
            self.abort()
            raise
        self._is_done = True

    def abort(self) -> None:
        """Throw away what was written; harmless after ``close``."""
        if not self._is_done:
            self._is_done = True
            self._sink.abort()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _make_sink(self, target: Path) -> _Sink:
        try:
            if is_pattern(self.path) or self.path.suffix.lower() in ("", ".png", ".jpg", ".jpeg"):
                sink: _Sink = ImageWriter(self.path, self.source, self.options, self._bit_depth, self._alpha)
            else:
                sink = _FileSink(self)
        except (av.error.FFmpegError, OSError) as error:
            discard(partial_path(target))
            raise as_output_error(self.path, error) from None
        self._sink = sink
        self._take_notes()
        return sink

    def _check_frame(self, pixels: Frame, pts: int) -> None:
        wanted = (self.height, self.width, self.channels)
        if pixels.shape != wanted or pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frames must be {wanted} of uint8 or uint16, got {pixels.shape} {pixels.dtype}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"timestamps must increase: {pts} after {self._last_pts}")

    def _take_notes(self) -> None:
        for note in self._sink.notes:
            if note not in self.notes:
                self.notes.append(note)
                if self._on_note is not None:
                    self._on_note(note)


class _FileSink:
    """One container file with one encoder, fed beside the copied streams."""

    def __init__(self, writer: VideoWriter) -> None:
        self._writer = writer
        self._path = writer.path
        self._source = writer.source
        self._muxer = container_of(writer.path.name, writer.path.suffix)
        self._plan = plan_encoding(
            writer.path.name,
            self._muxer,
            width=writer.width,
            height=writer.height,
            source=writer.source,
            has_alpha=writer._alpha,
            bit_depth=writer._bit_depth,
            options=writer.options,
        )
        self.notes = list(self._plan.notes)
        self._partial = partial_path(writer.path)
        self._durations: dict[int, int] = {}
        self._frames = 0
        self._held: Any = None
        self._first_dts: int | None = None
        self._first_pts = self._last_pts = self._end = 0
        self._copier: StreamCopier | None = None
        quiet_encoders()
        self._output: Any = self._open()
        try:
            self._build()
        except BaseException:
            self.abort()
            raise

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        if self._frames == 0:
            self._begin(pts)
            self._first_pts = pts
        frame = from_rgb(self._flat(pixels), self._plan.pixel_format, self._plan.color)
        frame.pts, frame.time_base = pts, self._writer.time_base
        self._note_coarse_clock(pts)
        self._durations[pts] = duration
        self._end = pts + duration
        self._frames += 1
        self._mux(self._stream.encode(frame))

    def _note_coarse_clock(self, pts: int) -> None:
        """Matroska counts milliseconds; frames closer than that fall onto one time."""
        if self._muxer in ("matroska", "webm") and self._frames:
            gap = (pts - self._last_pts) * self._writer.time_base
            note = f"{self._path.name}: some frames are less than 1 ms apart, which only .mp4 and .mov keep"
            if gap < Fraction(1, 1000) and note not in self.notes:
                self.notes.append(note)
        self._last_pts = pts

    def finish(self) -> None:
        self._mux(self._stream.encode(None))
        self._mux_held(is_last=True)
        if self._copier is not None:
            self._copier.advance(None)
            self._report_left_out()
            self._copier.close()
        self._output.close()
        if self._needs_display_size and not write_aspect(
            self._partial, self._writer.width, self._writer.height, self._aspect
        ):
            raise OutputError(f"{self._path}: the aspect ratio {self._aspect} could not be stored; write .mp4 or .mov")
        self._verify()
        publish(self._partial, self._path)

    def abort(self) -> None:
        if self._copier is not None:
            self._copier.close()
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError, RuntimeError):
            self._output.close()
        discard(self._partial)

    def _open(self) -> Any:
        flags: dict[str, str] = {"fflags": "+bitexact"}  # no random ids, no clock: equal input gives equal bytes
        if self._muxer in ("mp4", "mov"):
            movflags = "+faststart" if self._writer.options.faststart else ""
            if self._source is not None and needs_free_tags(self._source):
                movflags += "+use_metadata_tags"
            if movflags:
                flags["movflags"] = movflags
            flags["movie_timescale"] = str(self._movie_timescale())
        return av.open(f"file:{self._partial}", "w", format=self._muxer, container_options=flags)

    @property
    def _aspect(self) -> Fraction:
        return self._source.sample_aspect_ratio if self._source is not None else Fraction(1)

    @property
    def _needs_display_size(self) -> bool:
        return self._muxer in ("matroska", "webm") and self._aspect != 1

    def _movie_timescale(self) -> int:
        """Choose the clock that MP4 keeps start offsets on (FFmpeg's default of 1 ms would round them)."""
        scale = min(self._writer.time_base.denominator, _MAX_TIMESCALE)
        while scale < 10_000:  # what FFmpeg does for tracks
            scale *= 2
        rates = [s.sample_rate for s in self._source.streams if s.sample_rate] if self._source else []
        shared = math.lcm(scale, *rates)
        return shared if shared <= _MAX_SHARED_CLOCK else scale

    def _build(self) -> None:
        if self._source is not None and self._source.kind == "video":
            self._copier = StreamCopier(self._source, self._output, self._muxer, self._writer._time_range)
            self._copier.before_video()
        self._stream = self._add_video(self._plan)
        if self._copier is not None:
            self._copier.after_video(self._stream)
            self._report_left_out()
        if self._writer.comment and not any(key.lower() == "comment" for key in self._output.metadata):
            self._output.metadata["comment"] = self._writer.comment
        with captured_log() as log:
            try:
                self._stream.codec_context.open()
            except (av.error.FFmpegError, ValueError) as error:
                problem = error
            else:
                return
        detail = log[-1] if log else reason(problem)
        raise OptionError(f"{self._plan.codec} refuses these settings ({detail}); choose another codec or setting")

    def _add_video(self, plan: EncodePlan) -> Any:
        writer = self._writer
        rate = writer.frame_rate.limit_denominator(100_000)
        stream = self._output.add_stream(plan.codec, rate=rate, options=dict(plan.settings))
        context = stream.codec_context
        stream.width, stream.height = writer.width, writer.height
        stream.pix_fmt = plan.pixel_format
        base = writer.time_base
        if base.denominator > _MAX_TIMESCALE or base.numerator > _MAX_TIMESCALE:
            base = base.limit_denominator(_MAX_TIMESCALE)
        context.time_base = base
        stream.time_base = base
        context.sample_aspect_ratio = self._aspect
        if self._needs_display_size:
            stream.set_display_rotation(PLACEHOLDER_DEGREES)
        context.color_range = plan.color.range
        context.colorspace = plan.color.matrix
        context.color_primaries = plan.color.primaries
        context.color_trc = plan.color.transfer
        if plan.tag:
            context.codec_tag = plan.tag
        if plan.has_alpha and self._muxer in ("webm", "matroska") and plan.codec == "libvpx-vp9":
            stream.metadata["alpha_mode"] = "1"
        return stream

    def _report_left_out(self) -> None:
        if self._copier is None:
            return
        if self._copier.left_out and self._writer.options.missing_streams == "error":
            raise OptionError(f"{self._path.name}: {'; '.join(self._copier.left_out)}; choose .mkv")
        found = (*self._copier.left_out, *self._copier.notes)
        self.notes += [note for text in found if (note := f"{self._path.name}: {text}") not in self.notes]
        self._copier.left_out.clear()

    def _begin(self, first_pts: int) -> None:
        """Write the header: only now the shift of all times is known."""
        if self._copier is not None:
            offset = self._writer._first_pts or 0
            self._copier.begin((first_pts + offset) * self._writer.time_base)
            self._report_left_out()
        self._output.start_encoding()
        if self._copier is not None:
            self._copier.start_reading()

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            if self._first_dts is None:
                self._first_dts = packet.dts
            self._mux_held()
            self._held = packet

    def _mux_held(self, *, is_last: bool = False) -> None:
        """Hand over the packet before; the last one of an MP4 gets the length that ends the track in time.

        MP4 stores lengths in coding order, so with B-frames the packet that is coded last is not the one
        that is shown last.
        """
        packet, self._held = self._held, None
        if packet is None:
            return
        if is_last and self._muxer in ("mp4", "mov") and packet.dts is not None and self._first_dts is not None:
            rest = self._end - self._first_pts - (packet.dts - self._first_dts)
            packet.duration = max(rest, 1)
        if self._copier is not None and packet.dts is not None:
            self._copier.advance(packet.dts * Fraction(packet.time_base))
        self._output.mux_one(packet)

    def _flat(self, pixels: Frame) -> Frame:
        """Show four channels on black when the transparency is to be dropped."""
        if pixels.shape[2] == 3 or self._plan.has_alpha:
            return pixels
        return flatten(pixels)

    def _verify(self) -> None:
        """Look at the finished file: FFmpeg does not report every failed write."""
        try:
            with av.open(f"file:{self._partial}") as container:
                stream = container.streams[self._stream.index]
                count = stream.frames if self._muxer in ("mp4", "mov") else self._frames
        except av.error.FFmpegError as error:
            raise OutputNotWritableError(
                f"{self._path}: the result cannot be read back ({reason(error)}); check the disk"
            ) from None
        if count != self._frames:
            raise OutputError(f"{self._path}: {count} of {self._frames} frames arrived in the file; check the disk")
