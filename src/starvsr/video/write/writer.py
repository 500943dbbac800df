"""``VideoWriter``: encode frames with their own timestamps and copy everything else of the input.

The output appears under its name only when it is whole. A file is written as ``.NAME.PID.partial.EXT``
beside its final place, flushed, looked at once more, and renamed; an exception leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import numpy as np

from starvsr.errors import OutputError, StarVsrError
from starvsr.video.convert import Frame
from starvsr.video.info import VideoInfo
from starvsr.video.parts.join_file import JoinFile, MovedPart, OnMoved, locate_images
from starvsr.video.parts.part_file import StoredPart
from starvsr.video.patterns import is_pattern, numbered_name
from starvsr.video.write.animation_writer import AnimationWriter
from starvsr.video.write.container import FileSink
from starvsr.video.write.encoders import EncodeOptions
from starvsr.video.write.file_names import check_name
from starvsr.video.write.images import ImageWriter
from starvsr.video.write.numbered_output import check_numbered, publish_numbered
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.publish import as_output_error, check_output, check_parent, discard, partial_path, publish
from starvsr.video.write.still_encoder import ImageEncoder


class _Sink(Protocol):
    """What takes the frames: an encoder with a container, or a folder of images."""

    notes: list[str]

    def write(self, pixels: Frame, pts: int, duration: int) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


class VideoWriter:
    """Write frames to a video, an animation (``.gif``, ``.webp``, ``.apng``), an image, a folder or pattern of images.

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
        partial: What the output is called while it is written; None for a hidden name beside it.
        moov_bytes: For `append_parts`: what `measure_moov` says. ``partial`` then may be there already, and stays when
            all is given up, for parts may lie in it alone. None is for frames.
        refused: Streams of the input that `try_output` found to be refused, by index, and why.
        on_whole: Called with ``partial`` when it is whole, before it gets the output's name.
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
        partial: Path | None = None,
        moov_bytes: int | None = None,
        refused: Mapping[int, str] | None = None,
        on_whole: Callable[[Path], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.form = OutputFormat.like(
            self.path,
            source,
            width,
            height,
            options,
            time_base=time_base,
            frame_rate=frame_rate,
            bit_depth=bit_depth,
            alpha=alpha,
        )
        self.notes: list[str] = []
        self.num_frames = 0
        self._on_note = on_note
        self._on_whole = on_whole
        self._last_pts: int | None = None
        self._is_done = False
        inputs = (source.path, *source.files) if source else ()
        self._partial = partial or partial_path(self.path)
        self._moov_bytes = moov_bytes
        self._refused = refused or {}
        check_target(self.path, inputs=inputs, overwrite=overwrite)
        self._sink = self._make_sink(time_range, comment)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Write the next frame.

        Args:
            pixels: [height, width, 3 or 4] uint8, or uint16 (0..65535); full-range RGB(A).
            pts: Presentation time in ticks of the time base; must increase.
            duration: Ticks that the frame is shown.

        Raises:
            OutputNotWritableError: The disk is full or gone.
            ValueError: The array has another size or type, or the time does not increase.
        """
        self._check_frame(pixels, pts)
        self._last_pts = pts
        try:
            self._sink.write(pixels, pts, duration)
        except StarVsrError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            raise as_output_error(self.path, error) from None
        self.num_frames += 1
        self._take_notes()

    def append_parts(
        self,
        parts: Sequence[Callable[[], StoredPart]],
        delay: int,
        num_frames: int,
        on_moved: OnMoved | None = None,
    ) -> None:
        """Write parts that were encoded before, in place of frames.

        Args:
            parts: What opens each of them, in order; made for the same output.
            delay: The largest `PartFacts.delay` of all.
            num_frames: Frames in all of them.
            on_moved: Told of each part that is not needed any more.

        Raises:
            DamagedPartError: A part is not as it was written.
            OutputNotWritableError: The disk is full or gone.
        """
        try:
            if isinstance(self._sink, AnimationWriter):
                for opened in parts:
                    for packet in opened().packets():
                        self._sink.add(packet.data, packet.pts, packet.duration)
            elif isinstance(self._sink, ImageWriter):
                _append_images(self._sink, parts, on_moved)
            else:
                assert isinstance(self._sink, FileSink)
                self._sink.append(parts, delay, on_moved)
        except StarVsrError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            raise as_output_error(self.path, error) from None
        self.num_frames = num_frames
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
            if self._on_whole is not None:
                self._on_whole(self._partial)
            self._publish()
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

    def _publish(self) -> None:
        if not is_pattern(self.path):
            publish(self._partial, self.path)
            return
        publish_numbered(self._partial, self.path)
        if self._moov_bytes is None:
            discard(self._partial)

    def _make_sink(self, time_range: tuple[Fraction, Fraction | None] | None, comment: str | None) -> _Sink:
        form = self.form
        try:
            if form.is_images:
                encoder = ImageEncoder(form)
                sink: _Sink = ImageWriter(
                    form.path, form.source, encoder, self._partial, keep=self._moov_bytes is not None
                )
            elif form.is_animation:
                sink = AnimationWriter(form, ImageEncoder(form), self._partial, keep=self._moov_bytes is not None)
            else:
                sink = self._file_sink(time_range, comment)
        except (av.error.FFmpegError, OSError) as error:
            if self._moov_bytes is None:
                discard(self._partial)
            raise as_output_error(self.path, error) from None
        self._sink = sink
        self._take_notes()
        return sink

    def _file_sink(self, time_range: tuple[Fraction, Fraction | None] | None, comment: str | None) -> FileSink:
        if self._moov_bytes is None:
            return FileSink(self.form, self._partial, time_range=time_range, comment=comment, refused=self._refused)
        join = JoinFile(self._partial)
        try:
            return FileSink(
                self.form,
                self._partial,
                time_range=time_range,
                comment=comment,
                join=join,
                moov_bytes=self._moov_bytes,
                refused=self._refused,
            )
        except BaseException:
            join.mute()
            join.close()
            raise

    def _check_frame(self, pixels: Frame, pts: int) -> None:
        wanted = (self.form.height, self.form.width, self.form.channels)
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


def check_target(path: Path, *, inputs: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse an output, or the images that a numbered pattern stands for, that cannot or must not be written.

    The folder of a pattern need not be there: it is made.

    Raises:
        OptionError, OutputExistsError, OutputNotWritableError: as `check_output` says.
    """
    if not is_pattern(path):
        check_output(path, inputs=inputs, overwrite=overwrite)
        return
    check_name(path.with_name(numbered_name(path.name, 10**9)))
    check_numbered(path, inputs=inputs, overwrite=overwrite)
    check_parent(path if path.parent.exists() else path.parent)


def _append_images(sink: ImageWriter, parts: Sequence[Callable[[], StoredPart]], on_moved: OnMoved | None) -> None:
    for number, opened in enumerate(parts):
        part, first = opened(), sink.num_images
        for packet in part.packets():
            sink.add(packet.data, packet.pts)
        if on_moved is not None and sink.is_folder and not isinstance(part, MovedPart):
            sink.sync(first)
            on_moved(number, locate_images(part, first))
