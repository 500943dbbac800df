"""``Pictures``: what the decoder gives, one picture after the other, before times and pixels are made sense of.

Around damaged packets and frames that is an error, a gap, or the frame before once more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av

from starvsr.errors import CorruptFrameError
from starvsr.video.info import VideoInfo
from starvsr.video.read.alpha_track import AlphaTrack, Beside
from starvsr.video.read.clock import Clock, fields_of, followed
from starvsr.video.read.deinterlace import Deinterlacer
from starvsr.video.read.frame_times import Picture
from starvsr.video.read.images import ImageFiles
from starvsr.video.read.opening import has_arbitrary_clock, open_input, reason
from starvsr.video.read.side_data import UNSAFE_DECODERS, side_notes
from starvsr.video.read.stills import CONTAINER, read_still
from starvsr.video.read.stream_choice import alpha_stream, decoder_for, video_stream
from starvsr.video.read.stream_facts import is_elementary, nominal_rate
from starvsr.video.read.webp import webp_frames
from starvsr.video.untrusted.stalls import MOST_UNDER_WAY, QUICK, StallWatch, refusal

_MAX_DAMAGED_PACKETS = 10_000
# these code pictures that are never shown, so a packet without a frame is no damage
_HIDDEN_FRAMES = frozenset({"vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9"})


class Pictures:
    """One pass over the pictures of an input, in the order they are shown.

    Args:
        info: The input.
        start: Seconds after the first frame that may be passed over, at least up to a keyframe; None for none.
        deinterlace: ``auto``, ``on`` or ``off``, as in `starvsr.video.VideoReader`.
        on_corrupt: ``error``, ``skip`` or ``conceal``, as there.
        fill_to: With ``conceal``: number of frames to end with; None for no filling.
        note: Called with what the user should know.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        start: Fraction | None,
        deinterlace: str,
        on_corrupt: str,
        fill_to: int | None,
        note: Callable[[str], None],
    ) -> None:
        self._info = info
        self._path = info.path
        self._start = start
        self._deinterlace = deinterlace
        self._on_corrupt = on_corrupt
        self._fill_to = fill_to
        self._note = note
        self._container: Any = None
        self._raw_rate: Fraction | None = None
        self._alpha: AlphaTrack | None = None

    def close(self) -> None:
        """Close the file; harmless when already closed."""
        container, self._container = self._container, None
        alpha, self._alpha = self._alpha, None
        for one in (container, alpha):
            if one is not None:
                one.close()

    def __iter__(self) -> Iterator[Picture]:
        """Yield them.

        Raises:
            CorruptFrameError: One is damaged and ``on_corrupt`` is ``error``.
        """
        if self._info.kind == "animation":
            yield from self._webp_pictures()
            return
        if self._info.kind == "image" and self._info.container == CONTAINER:
            yield Picture(0, 1, read_still(self._path, self._info.limits).pixels)
            return
        frames = (
            ImageFiles(self._info, self._on_corrupt, self._note).pictures()
            if self._info.kind == "images"
            else self._video_frames()
        )
        if self._deinterlace == "off" or self._info.kind != "video":
            yield from (self._picture(frame) for frame in frames)
            return
        yield from self._deinterlaced(frames)

    def _deinterlaced(self, frames: Iterator[Any]) -> Iterator[Picture]:
        """Start the filter at the first interlaced frame; progressive videos never meet it."""
        filter_: Deinterlacer | None = None
        for frame in frames:
            if filter_ is None and not isinstance(frame, Picture) and self._wants_filter(frame):
                filter_ = Deinterlacer(only_flagged=self._deinterlace == "auto")
                self._note(f"{self._path.name}: interlaced, deinterlaced frame by frame (bwdif)")
            if filter_ is None or isinstance(frame, Picture):
                yield self._picture(frame)
            else:
                yield from (self._picture(done) for done in filter_.push(frame))
        if filter_ is not None:
            yield from (self._picture(done) for done in filter_.flush())

    def _wants_filter(self, frame: Any) -> bool:
        return self._deinterlace == "on" or bool(frame.interlaced_frame)

    def _video_frames(self) -> Iterator[Any]:
        container = self._container = open_input(self._path, limits=self._info.limits)
        stream = video_stream(container, self._path)
        if self._start is not None and self._info.has_timestamps and not self._info.clock_steps:
            container, stream = self._seek(container, stream)
        if self._info.time_base * self._info.frame_rate != 1 and not self._info.has_timestamps:
            self._raw_rate = nominal_rate(stream, raw=is_elementary(container))
        decoder = decoder_for(stream)
        alpha = self._open_alpha(container)
        damage = DamageControl(self._info, self._on_corrupt, self._note, fill_to=self._fill_to)
        packets = iter(self._packets(container, stream))
        watch = StallWatch(self._path, self._info.limits)
        recent: deque[Any] = deque(maxlen=MOST_UNDER_WAY)
        size = (0, 0)
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
            began, began_work = time.monotonic(), time.process_time()
            try:
                frames = decoder.decode(packet)
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                watch.count(began, began_work)
                damage.on_packet(packet, error, lambda: refusal(decoder, recent, self._info.limits))
                continue
            if not frames or time.monotonic() - began > QUICK:
                watch.count(began, began_work)
            for frame in frames:
                watch.spent = 0.0
                if (frame.width, frame.height) != size:
                    size = (frame.width, frame.height)
                    self._info.limits.check_size(self._path, *size)
                if decoder.name not in UNSAFE_DECODERS and _has_side_data(frame):
                    for note in side_notes(self._path, frame, decoder.name):
                        self._note(note)
                if alpha is not None:
                    frame.opaque = Beside(alpha=alpha.of(frame))
                yield from damage.around(frame)
        yield from damage.rest()

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the packets of the pictures, their times moved over the steps of the clock."""
        if not self._info.clock_steps:
            yield from container.demux(stream)
            return
        packets = container.demux(followed(container.streams))
        yield from Clock(container.streams).corrected(packets, stream.index)

    def _seek(self, container: Any, stream: Any) -> tuple[Any, Any]:
        """Go to the keyframe at or before the start; if the container lands behind it, read from the beginning."""
        target = self._info.start_time + (self._start or 0) + self._info.origin
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
        self._container = open_input(self._path, limits=self._info.limits)
        return self._container, video_stream(self._container, self._path)

    def _open_alpha(self, container: Any) -> AlphaTrack | None:
        if self._alpha is not None:
            self._alpha.close()
        has_one = alpha_stream(container, self._path) is not None
        self._alpha = AlphaTrack(self._path, self._info.limits) if has_one else None
        return self._alpha

    def _webp_pictures(self) -> Iterator[Picture]:
        pts = 0
        for pixels, duration in webp_frames(self._info, self._on_corrupt):
            yield Picture(pts, duration, pixels)
            pts += duration

    def _picture(self, frame: Any) -> Picture:
        if isinstance(frame, Picture):
            return frame
        duration = frame.duration or 0
        if not self._info.has_timestamps and self._info.kind == "video" and self._raw_rate is None:
            duration = 0
        if self._raw_rate is not None and duration and frame.time_base:  # of interest where fields are repeated
            fields = fields_of(duration * Fraction(frame.time_base), self._raw_rate)
            duration = int(fields / (2 * self._info.frame_rate * self._info.time_base))
        return Picture(frame.pts, duration, frame)


def _has_side_data(frame: Any) -> bool:
    try:
        return len(frame.side_data) > 0
    except ValueError:  # a kind that PyAV does not know
        return True


class DamageControl:
    """Watch the packets and frames of one reading of a video.

    Args:
        info: The video.
        mode: ``error``, ``skip`` or ``conceal``.
        note: Called with what the user should know.
        fill_to: With ``conceal``: number of frames to end with when the last ones are damaged; None for no filling.
    """

    def __init__(self, info: VideoInfo, mode: str, note: Callable[[str], None], *, fill_to: int | None) -> None:
        self._info = info
        self._mode = mode
        self._note = note
        self._fill_to = fill_to
        self._step = max(1, round(1 / (info.frame_rate * info.time_base)))
        self._damaged = 0
        self._emitted = 0
        self._last_pts: int | None = None
        self._expected: list[int] = []
        self._watches = mode == "conceal" and info.has_timestamps and info.codec not in _HIDDEN_FRAMES

    def expect(self, packet: Any) -> None:
        """Remember a packet that should become a frame."""
        if self._watches and packet.pts is not None and packet.size and not packet.is_discard:
            self._expected.append(packet.pts)

    def on_file(self, error: BaseException) -> None:
        """Meet damage in the container itself: reading ends here.

        Raises:
            CorruptFrameError: With mode ``error``.
        """
        if self._mode == "error":
            raise CorruptFrameError(self._message(f"the file is damaged after frame {self._emitted}", reason(error)))
        self._note(f"{self._info.path.name}: damaged after frame {self._emitted}; the rest is missing")

    def on_packet(self, packet: Any, error: BaseException, explain: Callable[[], str | None]) -> None:
        """Meet a packet that the decoder refuses.

        Args:
            packet: The packet.
            error: What the decoder said.
            explain: Asked for a better reason than the decoder's error before an error is raised.

        Raises:
            CorruptFrameError: With mode ``error``, or after ten thousand of them.
        """
        if self._mode == "error":
            why = explain() or reason(error)
            raise CorruptFrameError(self._message(f"frame {self._emitted} cannot be decoded", why))
        self._damaged += 1
        if self._damaged > _MAX_DAMAGED_PACKETS:
            raise CorruptFrameError(f"{self._info.path}: damaged throughout; get another copy")

    def around(self, frame: Any) -> Iterator[Any]:
        """Yield repeats for frames that went missing before ``frame``, then the frame if it is to be kept.

        Raises:
            CorruptFrameError: The frame is damaged and the mode is ``error``.
        """
        if self._watches and frame.pts is not None:
            yield from self._missing_before(frame.pts)
        if frame.is_corrupt:
            self._on_damaged_frame()
            if self._mode == "skip" and self._emitted:
                return
        self._emitted += 1
        self._last_pts = frame.pts
        yield frame

    def rest(self) -> Iterator[Any]:
        """Yield repeats for what is missing at the end, and report."""
        if self._watches and self._emitted:
            yield from self._missing_before(None)
            most = self._emitted + _MAX_DAMAGED_PACKETS
            while self._damaged and self._fill_to is not None and self._emitted < min(self._fill_to, most):
                yield self._repeat((self._last_pts or 0) + self._step)
        if self._damaged:
            what = "mended or shown as the frame before" if self._mode == "conceal" else "left out"
            self._note(f"{self._info.path.name}: {self._damaged} damaged frames, {what}")

    def _missing_before(self, pts: int | None) -> Iterator[Picture]:
        """Yield repeats for expected frames that can no longer come, unless they are mere fields."""
        due = sorted(p for p in self._expected if pts is None or p < pts)
        self._expected = [p for p in self._expected if pts is not None and p > pts]
        slack = Fraction(3, 4) * self._step if self._info.interlaced else 0
        for missing in due:
            after_last = self._last_pts is not None and missing - self._last_pts > slack
            if after_last and (pts is None or pts - missing > slack):
                self._damaged += 1
                yield self._repeat(missing)

    def _repeat(self, pts: int) -> Picture:
        self._emitted += 1
        self._last_pts = pts
        return Picture(pts, 0, None)

    def _on_damaged_frame(self) -> None:
        """Count a damaged frame, or raise; a broadcast cut out anywhere may begin with some."""
        is_beginning = self._emitted == 0 and has_arbitrary_clock(self._info.container)
        if self._mode == "error" and not is_beginning:
            raise CorruptFrameError(self._message(f"frame {self._emitted} is damaged", "the decoder had to guess"))
        self._damaged += 1

    def _message(self, what: str, why: str) -> str:
        return f"{self._info.path}: {what} ({why}); get another copy, or use on-corrupt=skip or =conceal"
