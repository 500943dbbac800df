"""``Pictures``: what the decoder gives, one picture after the other, before times and pixels are made sense of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starvsr.errors import CorruptFrameError, UnreadableInputError
from starvsr.video.info import PhotoData, VideoInfo
from starvsr.video.read.alpha_track import AlphaTrack
from starvsr.video.read.clock import Clock, fields_of, followed
from starvsr.video.read.damage import DamageControl, Picture
from starvsr.video.read.deinterlace import Deinterlacer
from starvsr.video.read.exif import Turn
from starvsr.video.read.opening import open_input
from starvsr.video.read.photo_data import photo_beside
from starvsr.video.read.side_data import UNSAFE_DECODERS, orientation, side_notes
from starvsr.video.read.stills import CONTAINER, check_tiles, read_still, rescue, wants_pillow
from starvsr.video.read.stream_choice import alpha_stream, decoder_for, video_stream
from starvsr.video.read.stream_facts import is_elementary, nominal_rate
from starvsr.video.read.webp import webp_frames
from starvsr.video.untrusted.stalls import MOST_UNDER_WAY, StallWatch, refusal


@dataclass(frozen=True)
class Beside:
    """What belongs to a decoded frame: how it is turned, where frames are turned one by one; its transparency."""

    turn: Turn | None = None
    alpha: Any = None


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
        frames = self._image_frames() if self._info.kind == "images" else self._video_frames()
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
            try:
                with watch:
                    frames = decoder.decode(packet)
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                damage.on_packet(packet, error, lambda: refusal(decoder, recent, self._info.limits))
                continue
            for frame in frames:
                watch.frame()
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

    def _image_frames(self) -> Iterator[Any]:
        for index, file in enumerate(self._info.files):
            try:
                image, size = self._image(file)
            except (av.error.FFmpegError, UnreadableInputError):
                yield from self._bad_image(index, file)
                continue
            if size != (self._info.width, self._info.height):
                raise UnreadableInputError(
                    f"{file}: {size[0]}x{size[1]}, but the first image is {self._info.width}x{self._info.height}:"
                    " a film has one size; give --images photos to enlarge each by itself"
                )
            yield Picture(index, 1, image)

    def _image(self, file: Path) -> tuple[Any, tuple[int, int]]:
        """Decode one photo: a frame, or pixels, and its upright (width, height)."""
        limits = self._info.limits
        if wants_pillow(file):
            return self._by_pillow(file)
        check_tiles(file)
        try:
            return self._by_ffmpeg(file)
        except (av.error.FFmpegError, UnreadableInputError):
            if not rescue(file, limits):
                raise
        return self._by_pillow(file)

    def _by_pillow(self, file: Path) -> tuple[Any, tuple[int, int]]:
        still = read_still(file, self._info.limits)
        self._compare_profiles(file, still.photo)
        return still.pixels, (still.pixels.shape[1], still.pixels.shape[0])

    def _by_ffmpeg(self, file: Path) -> tuple[Any, tuple[int, int]]:
        limits = self._info.limits
        with open_input(file, limits=limits) as container:
            stream = video_stream(container, file)
            decoder = stream.codec_context
            packets = (packet for packet in container.demux(stream))
            found = next(((frame, packet) for packet in packets for frame in decoder.decode(packet)), None)
            if found is None:
                raise UnreadableInputError(f"{file}: no picture could be decoded; check or convert the file")
            frame, packet = found
            photo = photo_beside(file, container, frame, packet, decoder.name, limits)
            has_alpha = alpha_stream(container, file) is not None
        self._compare_profiles(file, photo)
        beside = Beside(orientation(frame, file, decoder.name))
        if has_alpha:
            track = AlphaTrack(file, limits)
            beside = Beside(beside.turn, track.of(frame))
            track.close()
        frame.opaque = beside  # each photo may be turned in its own way
        is_turned = beside.turn is not None and beside.turn[0] == 0
        return frame, (frame.height, frame.width) if is_turned else (frame.width, frame.height)

    def _compare_profiles(self, file: Path, photo: PhotoData) -> None:
        first = self._info.photo
        if photo.profile != first.profile and not (photo.is_srgb and first.is_srgb):
            self._note(
                f"{file.name}: another colour profile than that of the first image, which is kept; its colours change"
            )

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
