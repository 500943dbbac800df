"""Copy what is not the picture: sound, subtitles, attachments, cover art, chapters and tags, untouched.

Nothing is decoded that the container holds. Text that it does not hold is turned into its own kind, sound is coded anew
if that was asked for, and what is left out is named in the notes. With a time range only packets that start inside are
kept (so copied sound is cut at packet borders, about 20 ms), subtitles that were already on screen start at 0, and all
times move by the same amount.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import count
from typing import Any

import av

from starvsr.video.info import VideoInfo
from starvsr.video.read.clock import Clock, followed
from starvsr.video.read.opening import open_input
from starvsr.video.read.stream_choice import is_cover, is_part_of_photo, video_stream
from starvsr.video.remux.attachments import attach
from starvsr.video.remux.audio_coders import add_sound, coder_for, coder_word, sound_note
from starvsr.video.remux.audio_conversion import SoundConverter
from starvsr.video.remux.audio_preroll import delayed, leads
from starvsr.video.remux.chapters import cut_chapters
from starvsr.video.remux.copied import Copied, is_filler
from starvsr.video.remux.copied_times import OutputTimes
from starvsr.video.remux.stream_twin import add_twin, first_packets, why_not_copyable
from starvsr.video.remux.tags import container_tags, copy_tags, stream_words
from starvsr.video.remux.text_subtitles import add_text, text_note
from starvsr.video.write.containers import KIND_OPTIONS, holds_chapters, holds_start_times, muxer_word

_TICK = 256  # packets
_EXACT_AT_ZERO = ("matroska", "webm", "avi")  # containers that round the time a stream begins at, or know none


class StreamCopier:
    """Copies the other streams of ``source`` into an output container, in step with the video.

    Args:
        source: The input.
        output: The open output container of PyAV.
        muxer: Its FFmpeg name.
        time_range: Seconds (start, stop) on the input's timeline to keep; None keeps all and all times.
        refused: Why streams are left out that look as if they could be copied, by index.
        converts_sound: Whether sound that the container cannot hold is coded anew rather than left out.

    Attributes:
        is_done: Whether all is copied.
    """

    def __init__(
        self,
        source: VideoInfo,
        output: Any,
        muxer: str,
        time_range: tuple[Fraction, Fraction | None] | None,
        *,
        refused: Mapping[int, str] | None = None,
        converts_sound: bool = False,
    ) -> None:
        self._refused = refused or {}
        self._info = source
        self._output = output
        self._muxer = muxer
        self._range = time_range
        self._converts_sound = converts_sound
        self._streams: dict[int, Copied] = {}
        self._packets: Iterator[tuple[Copied, Any]] = iter(())
        self._next: Any = None
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self.is_done = True
        self._input = open_input(source.path, limits=source.limits)
        self._video = video_stream(self._input, source.path)
        self._clock = Clock(self._input.streams) if source.clock_steps else None
        is_early = muxer in ("matroska", "webm") and time_range is None and source.has_audio
        self._leads = leads(source) if is_early else {}

    def places(self, picture: Any) -> dict[int, int]:
        """Index in the output of each stream of the input that is there; ask before either is closed."""
        copied = {index: int(one.target.index) for index, one in self._streams.items()}
        return {**copied, int(self._video.index): int(picture.index)}

    def before_video(self) -> None:
        """Add the streams that come before the video stream, to keep the order."""
        self._add([s for s in self._input.streams if s.index < self._video.index])

    def after_video(self, target: Any) -> None:
        """Add the streams behind the video stream, and the tags and chapters of the container."""
        copy_tags(self._video, target)
        target.disposition = int(self._video.disposition)
        self._add([s for s in self._input.streams if s.index > self._video.index])
        self._output.metadata.update(container_tags(self._input))

    def begin(self, first_time: Fraction) -> None:
        """Fix the shift of all times, once the first frame's time is known; add the chapters.

        Args:
            first_time: Seconds of the first written frame on the input's timeline.
        """
        moved = first_time if self._range is not None else Fraction(0)
        stop = self._range[1] if self._range is not None else None
        for copied in self._streams.values():
            copied.shift = round((self._info.origin + moved) / Fraction(copied.source.time_base))
            if isinstance(copied.converter, SoundConverter):
                copied.converter.begin(self._info.origin + moved, None if stop is None else stop - moved)
        self._write_chapters(moved)

    def start_reading(self) -> None:
        """Read covers and queue the first packet; the header must be written by now."""
        for copied in self._streams.values():
            coded = copied.target if isinstance(copied.converter, SoundConverter) else copied.source
            copied.times = OutputTimes(coded, copied.target, self._output)
        wanted = [copied.source for copied in self._streams.values()]
        if self._clock is not None:  # steps are found in all of them, as they are where the pictures are read
            wanted += [stream for stream in followed(self._input.streams) if stream.index not in self._streams]
        chosen = {stream.index for stream in wanted}
        for stream in self._input.streams:
            if stream.index not in chosen and hasattr(stream, "discard"):
                stream.discard = av.stream.Discard.all
        if self._streams:
            self._seek_to_start()
            self._packets = self._outgoing(iter(self._input.demux(wanted)))
        self._next = self._fetch()
        self.is_done = self._next is None

    @property
    def copied(self) -> set[int]:
        """The streams that are copied, by their index in the input."""
        return set(self._streams)

    def advance(self, until: Fraction | None, tick: Callable[[], None] | None = None) -> None:
        """Copy all packets due before a time (seconds in the output); None copies the rest, with a tick at times."""
        for number in count():
            if self._next is None:
                break
            if tick is not None and number % _TICK == 0:
                tick()
            copied, packet = self._next
            due = packet.dts if packet.dts is not None else packet.pts
            if until is not None and due is not None and due * Fraction(packet.time_base) > until:
                return
            packet.stream = copied.target
            try:
                self._output.mux_one(packet)
            except av.error.InvalidDataError:  # it has to be repacked for this container, and is damaged
                copied.num_refused += 1
            self._next = self._fetch()
        self.is_done = self._next is None
        for copied in self._streams.values():
            self.notes += copied.new_notes()

    def _note_lost_start(self, copied: Copied, packet: Any) -> None:
        """All streams of AVI begin at 0."""
        if holds_start_times(self._muxer) or copied.has_begun or packet.pts is None:
            return
        start = packet.pts * Fraction(packet.time_base)
        if copied.source.type == "audio" and abs(start) > Fraction(1, 1000):
            which = f"stream {copied.source.index} ({stream_words(copied.source)})"
            self.notes.append(
                f"{which} begins {float(1000 * start):.0f} ms after the pictures, which AVI cannot tell: it comes early"
            )

    def close(self) -> None:
        """Close the input."""
        self._input.close()

    # ---- streams

    def _add(self, streams: list[Any]) -> None:
        for stream in streams:
            problem = self._add_one(stream)
            if problem:
                self.left_out.append(f"stream {stream.index} ({stream_words(stream)}) is left out: {problem}")

    def _add_one(self, stream: Any) -> str | None:
        """Add a stream; say why not where that fails."""
        if stream.type == "video" and is_part_of_photo(self._input, self._info.path):
            return None
        if stream.type == "attachment" or is_cover(stream):
            return self._add_attachment(stream)
        if self._is_made_anew(stream):
            return None
        if stream.index in self._refused:
            return self._refused[stream.index]
        if stream.type == "data":
            return "data tracks are not copied"
        problem = self._why_not_copyable(stream)
        if problem:
            return self._convert(stream, problem)
        with contextlib.ExitStack() as stack:
            lead = self._leads.get(stream.index)
            template = stack.enter_context(delayed(stream, lead, add_twin)) if lead else stream
            target = add_twin(self._output, stream, template)
        self._streams[stream.index] = Copied(stream, target, 0)
        if stream.type == "video":
            self.notes.append(f"stream {stream.index} (a second video) is copied as it is, not enlarged")
        if self._muxer == "mp4" and stream.codec_context is not None and stream.codec_context.name.startswith("pcm_"):
            self.notes.append("uncompressed sound in MP4 is silent in some players; .mov or .mkv are safer")
        return None

    def _why_not_copyable(self, stream: Any) -> str | None:
        def packets() -> list[Any]:
            with open_input(self._info.path, limits=self._info.limits) as container:
                return first_packets(container, stream.index)

        options = {key: value for key, value in self._output.container_options.items() if key in KIND_OPTIONS}
        return why_not_copyable(stream, self._muxer, options, packets)

    def _convert(self, stream: Any, problem: str) -> str | None:
        """Add a stream in another form; say why it is left out where there is none."""
        text = add_text(self._output, self._muxer, stream)
        if text is not None:
            self._streams[stream.index] = Copied(stream, text.target, 0, text)
            self.notes.append(text_note(stream, self._muxer))
            return None
        coder = coder_for(self._muxer, stream)
        if coder is None:
            return problem
        if not self._converts_sound:
            return f"{problem}; --missing-streams convert codes it anew as {coder_word(self._muxer, stream)}"
        target = add_sound(self._output, coder, stream)
        sound = SoundConverter(stream, target, coder, begins_at_zero=self._muxer in _EXACT_AT_ZERO)
        self._streams[stream.index] = Copied(stream, target, 0, sound)
        self.notes.append(sound_note(stream, self._muxer, coder))
        return None

    def _is_made_anew(self, stream: Any) -> bool:
        """Whether the writer makes this MOV track from what is copied anyway: chapters, or the timecode tag."""
        is_chapter_track = bool(self._info.chapters) and stream.discard == av.stream.Discard.all
        is_timecode = stream.type == "data" and "timecode" in stream.metadata
        return is_timecode or (is_chapter_track and stream.type in ("data", "subtitle"))

    def _add_attachment(self, stream: Any) -> str | None:
        if self._muxer == "mp4" and stream.type == "video":
            problem = why_not_copyable(stream, self._muxer)
            if problem is None:
                self._streams[stream.index] = Copied(stream, add_twin(self._output, stream), 0)
            return problem
        return attach(self._output, self._muxer, stream, self._info)

    # ---- packets

    def _seek_to_start(self) -> None:
        if self._range is None or self._info.clock_steps:  # seeking wants times that increase
            return
        target = self._range[0] + self._info.origin - 10  # subtitles may have begun well before
        if target > 0:
            try:
                self._input.seek(int(target * 1_000_000))
            except av.error.FFmpegError:
                with contextlib.suppress(av.error.FFmpegError):
                    self._input.seek(0)

    def _fetch(self) -> tuple[Copied, Any] | None:
        return next(self._packets, None)

    def _outgoing(self, packets: Iterator[Any]) -> Iterator[tuple[Copied, Any]]:
        """Give the packets that go into the output, with their times there."""
        for packet in packets:
            if self._clock is not None:
                self._clock.correct(packet)
            copied = self._streams.get(packet.stream.index)
            if copied is None or packet.size == 0 or is_filler(copied.source, packet):
                continue
            if copied.is_wanted(packet, self._range):
                for done in copied.converted(packet, is_cut=self._range is not None):
                    self._set_times(copied, done)
                    yield copied, done
        for copied in self._streams.values():
            for done in copied.converter.flush() if copied.converter is not None else ():
                self._set_times(copied, done)
                yield copied, done

    def _set_times(self, copied: Copied, packet: Any) -> None:
        self._note_lost_start(copied, packet)
        copied.has_begun = True
        if copied.times is not None:
            copied.times.set(packet)

    # ---- chapters

    def _write_chapters(self, moved: Fraction) -> None:
        chapters = list(cut_chapters(self._info, self._range, moved))
        if not chapters:
            return
        if not holds_chapters(self._muxer) or not hasattr(self._output, "set_chapters"):
            where = "this version of PyAV" if holds_chapters(self._muxer) else muxer_word(self._muxer)
            self.left_out.append(f"chapters are left out: {where} cannot write them")
            return
        self._output.set_chapters(chapters)
