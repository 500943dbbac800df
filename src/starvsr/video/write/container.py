"""``FileSink``: one container file, with one video stream and the copied streams of the input beside it.

Takes frames, which it encodes itself, or parts that were encoded before. Publishes nothing: the file stays under the
name it is given.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av

from starvsr.errors import OptionError, OutputError, OutputNotWritableError
from starvsr.video.convert import Frame
from starvsr.video.parts.join_file import CountedFile, JoinFile, Mover, OnMoved
from starvsr.video.parts.part_file import DamagedPartError, StoredPart, decoding_times
from starvsr.video.parts.part_writer import EncoderFeed
from starvsr.video.read.opening import reason
from starvsr.video.remux.lost_metadata import name_losses
from starvsr.video.remux.matroska_aspect import PLACEHOLDER_DEGREES, write_aspect
from starvsr.video.remux.streams import StreamCopier
from starvsr.video.remux.tags import needs_free_tags
from starvsr.video.write.constant_rate import ConstantRate
from starvsr.video.write.containers import holds_start_times, muxer_options
from starvsr.video.write.encoders import quiet_encoders
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.publish import discard

_MAX_TIMESCALE = 2**31 - 1
_MIN_TIMESCALE = 10_000  # FFmpeg's default of 1 ms would round offsets
_MAX_SHARED_CLOCK = 1_000_000
_INTERLEAVED_US = 500_000  # streams arrive in order; FFmpeg would hold ten seconds where one of them is silent
_JOIN_BUFFER = 1 << 14


class FileSink:
    """Write one container file.

    Args:
        form: What the output is made of.
        partial: The file to write.
        time_range: The part of the input that is read; None for all of it.
        comment: Text for the comment tag, where the input has none.
        join: The file to write through, for parts; it stays when all is given up. None makes a file anew.
        moov_bytes: Bytes for the index of MP4 and MOV in front of the pictures of a ``join``.
        refused: Streams of the input that a trial found to be refused, by index, and why.
    """

    def __init__(
        self,
        form: OutputFormat,
        partial: Path,
        *,
        time_range: tuple[Fraction, Fraction | None] | None,
        comment: str | None,
        join: JoinFile | CountedFile | None = None,
        moov_bytes: int = 0,
        refused: Mapping[int, str] | None = None,
    ) -> None:
        self._join = join
        self._refused = refused or {}
        self._moov_bytes = moov_bytes
        self._form = form
        self._path = form.path
        self._source = form.source
        self._muxer = form.muxer
        self._plan = form.plan
        self._time_range = time_range
        self._comment = comment
        self._partial = partial
        self.notes = list(self._plan.notes)
        self._durations: dict[int, int] = {}
        self._frames = 0
        self._held: deque[Any] = deque()
        self._first_dts: int | None = None
        self._num_muxed = 0
        self._is_ending = False
        self._offset = self._first_pts = self._last_pts = self._end = 0
        self._feed = EncoderFeed(form)
        self._rate = ConstantRate(form.path.name, form.nominal_rate) if self._muxer == "avi" else None
        self._copier: StreamCopier | None = None
        self._places: dict[int, int] = {}
        quiet_encoders()
        self._output: Any = self._open()
        try:
            self._build()
        except BaseException:
            self.abort()
            raise

    # ---- frames

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Encode the next frame; ``pts`` is its time in the input."""
        pts = self._arrive(pts, duration)
        picture = self._feed.picture(pixels, pts)
        self._durations[pts] = duration
        self._mux(self._feed.restore(self._stream.encode(picture)))

    def append(self, parts: Sequence[Callable[[], StoredPart]], delay: int, on_moved: OnMoved | None = None) -> None:
        """Lay encoded parts one behind the other.

        Args:
            parts: They, in order; opened more than once, when needed.
            delay: Pictures by which decoding runs ahead of showing: the largest of all parts.
            on_moved: Told of each part that is not needed any more; only with a `JoinFile`.

        Raises:
            DamagedPartError: A part is not as it was written.
        """
        mover = None
        if isinstance(self._join, JoinFile) and on_moved and self._muxer != "mpegts":  # which cuts packets into pieces
            mover = Mover(self._join, self._partial, on_moved)
        whole_header = bytes(self._stream.codec_context.extradata or b"")
        header = hashlib.sha256(whole_header).hexdigest()
        clock = decoding_times(chain.from_iterable(opened().times for opened in parts), delay)
        for number, opened in enumerate(parts):
            part = opened()
            if part.header_sha256 != header:
                raise DamagedPartError(part.path, "it was encoded with other settings")
            lengths = part.durations
            for pts in part.times:
                self._arrive(pts, lengths[pts])
            self._mux(self._timed(part, clock))
            if mover is not None:
                mover.look(number, part)

    def _timed(self, part: StoredPart, clock: Iterator[int]) -> Iterator[Any]:
        base = self._form.packet_base
        for stored in part.packets():
            packet = stored.as_av()
            packet.pts -= self._offset
            packet.dts = next(clock) - self._offset
            packet.time_base = base
            packet.stream = self._stream
            yield packet

    def _arrive(self, pts: int, duration: int) -> int:
        """Register the next frame in presentation order; return its time in the output."""
        if self._frames == 0:
            self._offset = pts if self._time_range is not None or not holds_start_times(self._muxer) else 0
            self._begin(pts)
            self._first_pts = pts - self._offset
        pts -= self._offset
        self._note_coarse_clock(pts)
        if self._rate is not None:
            self._rate.place(pts * self._form.time_base)
        self._last_pts = pts
        self._end = pts + duration
        self._frames += 1
        return pts

    def _note_coarse_clock(self, pts: int) -> None:
        """Matroska counts milliseconds; frames closer than that fall onto one time."""
        if self._muxer in ("matroska", "webm") and self._frames:
            gap = (pts - self._last_pts) * self._form.time_base
            note = f"{self._path.name}: some frames are less than 1 ms apart, which only .mp4 and .mov keep"
            if gap < Fraction(1, 1000) and note not in self.notes:
                self.notes.append(note)

    def rehearse(self, tick: Callable[[], None] | None) -> None:
        """Write all but the pictures, header and end included.

        Args:
            tick: Called once in a while.
        """
        start = self._time_range[0] if self._time_range is not None else Fraction(0)
        self._begin(round(start / self._form.time_base))
        if self._copier is not None:
            self._copier.advance(None, tick)
        self.write_end()

    @property
    def copied(self) -> set[int]:
        """The streams of the input that are copied, by index."""
        return set() if self._copier is None else self._copier.copied

    # ---- the end

    def finish(self) -> None:
        """Write what is left, close the file and look at it once more.

        Raises:
            OutputError: The file is not whole.
        """
        self.write_end()
        if self._join is not None:
            assert isinstance(self._join, JoinFile)
            self._join.close()
        if self._needs_display_size and not write_aspect(
            self._partial, self._form.width, self._form.height, self._form.aspect
        ):
            raise OutputError(
                f"{self._path}: the aspect ratio {self._form.aspect} could not be stored; write .mp4 or .mov"
            )
        self._verify()
        if self._rate is not None:
            self.notes += self._rate.notes(self._form.time_base)
        if self._source is not None and self._places:
            lost = name_losses(self._source, self._partial, self._places)
            self.notes += [f"{self._path.name}: {text}" for text in lost]

    def write_end(self) -> None:
        """Write what is left and what the container ends with."""
        if self._durations:  # frames are still in the encoder
            self._mux(self._feed.restore(self._stream.encode(None)))
            if self._num_muxed == 0:
                self._time_few()
        self._is_ending = True
        while self._held:
            self._mux_held()
        if self._copier is not None:
            self._copier.advance(None)
            self._report_left_out()
            self._places = self._copier.places(self._stream)
            self._copier.close()
        self._output.close()

    def abort(self) -> None:
        """Throw away what was written, but for a file of joined parts; never raises."""
        if self._copier is not None:
            self._copier.close()
        if isinstance(self._join, JoinFile):
            self._join.mute()
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError, RuntimeError):
            self._output.close()
        if self._join is None:
            discard(self._partial)
        elif isinstance(self._join, JoinFile):
            self._join.close()

    def _verify(self) -> None:
        """Look at the finished file: FFmpeg does not report every failed write."""
        try:
            with av.open(f"file:{self._partial}", metadata_errors="replace") as container:
                stream = container.streams[self._stream.index]
                count = stream.frames if self._muxer in ("mp4", "mov") else self._frames
                self._note_later_times(stream)
        except av.error.FFmpegError as error:
            raise OutputNotWritableError(
                f"{self._path}: the result cannot be read back ({reason(error)}); check the disk"
            ) from None
        if count != self._frames:
            raise OutputError(f"{self._path}: {count} of {self._frames} frames arrived in the file; check the disk")

    def _note_later_times(self, stream: Any) -> None:
        """Matroska knows no times before 0: where sound begins earlier, its writer moves all streams by the same."""
        if self._muxer not in ("matroska", "webm") or stream.start_time is None:
            return
        later = stream.start_time * Fraction(stream.time_base) - self._first_pts * self._form.time_base
        if later > Fraction(stream.time_base):
            self.notes.append(
                f"{self._path.name}: pictures and sound come {float(1000 * later):.0f} ms later than in the input,"
                " whose sound begins before 0; .mp4 and .mov keep its times"
            )

    # ---- the container

    def _open(self) -> Any:
        # no random ids, no clock: equal input gives equal bytes
        flags = {"fflags": "+bitexact", "max_interleave_delta": str(_INTERLEAVED_US)}
        flags |= muxer_options(self._path.suffix)
        if self._muxer in ("mp4", "mov"):
            movflags = "+faststart" if self._form.options.faststart and self._join is None else ""
            if self._moov_bytes:
                flags["moov_size"] = str(self._moov_bytes)
            if self._source is not None and needs_free_tags(self._source, keeps_covers=self._muxer == "mp4"):
                movflags += "+use_metadata_tags"
            if movflags:
                flags["movflags"] = movflags
            flags["movie_timescale"] = str(self._movie_timescale())
        if self._join is not None:
            return av.open(self._join, "w", format=self._muxer, container_options=flags, buffer_size=_JOIN_BUFFER)
        return av.open(f"file:{self._partial}", "w", format=self._muxer, container_options=flags)

    @property
    def _needs_display_size(self) -> bool:
        return self._muxer in ("matroska", "webm") and self._form.aspect != 1

    def _movie_timescale(self) -> int:
        """Choose the clock that MP4 keeps start offsets on: exact for all tracks, or within half a sample of sound."""
        ticks = min(self._form.time_base.denominator, _MAX_TIMESCALE)
        rates = [s.sample_rate for s in self._source.streams if s.sample_rate] if self._source else []
        scale = math.lcm(ticks, *rates)
        if rates and scale > _MAX_SHARED_CLOCK:
            scale = min(ticks * math.ceil(2 * max(rates) / ticks), _MAX_TIMESCALE)
        while scale < _MIN_TIMESCALE:
            scale *= 2
        return scale

    def _build(self) -> None:
        if self._source is not None and self._source.kind == "video":
            kept = self._time_range
            if kept is None and not holds_start_times(self._muxer):
                kept = (self._source.start_time, None)
            self._copier = StreamCopier(
                self._source,
                self._output,
                self._muxer,
                kept,
                refused=self._refused,
                converts_sound=self._form.options.missing_streams == "convert",
            )
            self._copier.before_video()
        self._stream = self._add_video()
        if self._copier is not None:
            self._copier.after_video(self._stream)
            self._report_left_out()
        if self._comment and not any(key.lower() == "comment" for key in self._output.metadata):
            self._output.metadata["comment"] = self._comment
        self._form.open(self._stream.codec_context)

    def _add_video(self) -> Any:
        plan = self._plan
        rate = self._form.nominal_rate
        stream = self._output.add_stream(plan.codec, rate=rate, options=dict(plan.settings))
        self._form.set_up(stream.codec_context)
        stream.time_base = self._form.encoder_base
        if self._needs_display_size:
            stream.set_display_rotation(PLACEHOLDER_DEGREES)
        if plan.has_alpha and self._muxer in ("webm", "matroska") and plan.codec == "libvpx-vp9":
            stream.metadata["alpha_mode"] = "1"
        return stream

    def _report_left_out(self) -> None:
        if self._copier is None:
            return
        if self._copier.left_out and self._form.options.missing_streams == "error":
            raise OptionError(f"{self._path.name}: {'; '.join(self._copier.left_out)}; choose .mkv")
        found = (*self._copier.left_out, *self._copier.notes)
        self.notes += [note for text in found if (note := f"{self._path.name}: {text}") not in self.notes]
        self._copier.left_out.clear()

    def _begin(self, first_pts: int) -> None:
        """Write the header: only now the shift of all times is known."""
        if self._copier is not None:
            self._copier.begin(first_pts * self._form.time_base)
            self._report_left_out()
        self._output.start_encoding()
        if self._copier is not None:
            self._copier.start_reading()

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
            if self._first_dts is None:
                self._first_dts = packet.dts
            self._held.append(packet)
            if len(self._held) > 2:
                self._mux_held()

    def _time_few(self) -> None:
        """Set the decoding times of one or two pictures in all: x265 leaves theirs to chance."""
        for packet in self._held:
            packet.dts = packet.pts
        self._first_dts = self._held[0].dts if self._held else None

    def _mux_held(self) -> None:
        """Hand over the packet before; the last one of an MP4 gets the length that ends the track in time.

        MP4 stores lengths in coding order, so with B-frames the packet that is coded last is not the one
        that is shown last.
        """
        packet = self._held.popleft()
        is_last = self._is_ending and not self._held
        self._num_muxed += 1
        if is_last and self._muxer in ("mp4", "mov") and packet.dts is not None and self._first_dts is not None:
            rest = self._end - self._first_pts - (packet.dts - self._first_dts)
            packet.duration = max(rest, 1)
        if self._copier is not None and not self._copier.is_done and packet.dts is not None:
            self._copier.advance(packet.dts * Fraction(packet.time_base))
        self._output.mux_one(packet)
