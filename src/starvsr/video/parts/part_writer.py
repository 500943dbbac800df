"""Encode runs of frames into the parts of an unfinished output."""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av

from starvsr.errors import OutputError
from starvsr.video.convert import Frame, flatten, from_rgb
from starvsr.video.parts.part_file import Packet, PartFacts, PartFile
from starvsr.video.write.containers import has_global_headers
from starvsr.video.write.encoders import quiet_encoders
from starvsr.video.write.output_format import OutputFormat
from starvsr.video.write.publish import as_output_error
from starvsr.video.write.still_encoder import ImageEncoder

_GLOBAL_HEADER = 1 << 22  # FFmpeg's flag: parameter sets go into the container's header
_KEPT_SIDE_DATA = ("matroska_block_additional",)  # the transparency of VP9


class EncoderFeed:
    """Makes pictures of frames as an encoder takes them, and gives its packets the times of the output.

    Encoders that know nothing but a rate count the pictures; none of ours changes their order.

    Args:
        form: What is encoded to.
    """

    def __init__(self, form: OutputFormat) -> None:
        plan = form.plan
        self._pixel_format, self._color, self._has_alpha = plan.pixel_format, plan.color, plan.has_alpha
        self._counts_frames = form.counts_frames
        self._time_base, self._encoder_base, self._packet_base = form.time_base, form.encoder_base, form.packet_base
        self._num_frames = 0
        self._times: dict[int, int] = {}

    def picture(self, pixels: Frame, pts: int) -> Any:
        """Convert a frame [H, W, 3 or 4] to a picture with its time."""
        if pixels.shape[2] == 4 and not self._has_alpha:  # transparency that is to be dropped
            pixels = flatten(pixels)
        picture: Any = from_rgb(pixels, self._pixel_format, self._color)
        if not self._counts_frames:
            picture.pts, picture.time_base = pts, self._time_base
            return picture
        picture.pts, picture.time_base = self._num_frames, self._encoder_base
        self._times[self._num_frames] = pts
        self._num_frames += 1
        return picture

    def restore(self, packets: list[Any]) -> list[Any]:
        """Give packets the times of their pictures again."""
        if self._counts_frames:
            for packet in packets:
                packet.pts = packet.dts = self._times.pop(packet.pts)
                packet.time_base = self._packet_base
        return packets


class PictureEncoder:
    """An encoder for a run of frames, without a container.

    Each run begins with a picture that needs none before it, and none after it refers back, so that runs can be
    laid one behind the other.

    Args:
        form: What to encode to.
    """

    def __init__(self, form: OutputFormat) -> None:
        quiet_encoders()
        context: Any = av.CodecContext.create(form.plan.codec, "w")
        context.framerate = form.nominal_rate
        form.set_up(context)
        if has_global_headers(form.muxer):
            context.flags |= _GLOBAL_HEADER
        context.options = dict(form.plan.settings)
        form.open(context)
        self._context = context
        self._feed = EncoderFeed(form)

    @property
    def header(self) -> bytes:
        """The parameter sets that the container's header must hold."""
        return bytes(self._context.extradata or b"")

    def encode(self, pixels: Frame, pts: int) -> list[Any]:
        """Encode the next frame; gives the packets that are ready."""
        return self._feed.restore(self._context.encode(self._feed.picture(pixels, pts)))

    def flush(self) -> list[Any]:
        """End the run; gives the last packets."""
        return self._feed.restore(self._context.encode(None))


class PartWriter:
    """Encode a run of frames into a file of its own.

    Args:
        path: The file.
        form: What to encode to.
    """

    def __init__(self, path: Path, form: OutputFormat) -> None:
        self.num_frames = 0
        self._form = form
        self._first_pts = 0
        self._durations: dict[int, int] = {}
        self._encoder: PictureEncoder | None = None
        self._images: ImageEncoder | None = None
        if form.holds_stills:
            self._images = ImageEncoder(form)
        else:
            self._encoder = PictureEncoder(form)
        with self._output_errors():
            self._file = PartFile(path)

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Encode the next frame.

        Args:
            pixels: [height, width, 3 or 4] uint8, or uint16 (0..65535).
            pts: When it is shown, in ticks; must increase.
            duration: Ticks that it is shown.

        Raises:
            OutputNotWritableError: The disk is full or gone.
        """
        with self._output_errors():
            if self._images is not None:
                self._images.check_count(self.num_frames)
                self._file.add(Packet(self._images.encode(pixels), pts, duration))
            else:
                if self.num_frames == 0:
                    self._first_pts = pts  # encoders count from 0: some mind where a run begins
                self._durations[pts] = duration
                assert self._encoder is not None
                self._take(self._encoder.encode(pixels, pts - self._first_pts))
        self.num_frames += 1

    def close(self) -> PartFacts:
        """Flush everything to the disk and give the file its name.

        Raises:
            OutputNotWritableError: The disk is full or gone.
            OutputError: The encoder swallowed frames.
        """
        with self._output_errors():
            header = b""
            if self._encoder is not None:
                self._take(self._encoder.flush())
                header = self._encoder.header
                self._encoder = None  # its memory is needed by the next one
            if self._file.num_packets != self.num_frames:
                raise OutputError(
                    f"{self._form.path}: the encoder gave {self._file.num_packets} of {self.num_frames} frames back"
                )
            return self._file.close(hashlib.sha256(header).hexdigest())

    def abort(self) -> None:
        """Throw away what was written; never raises."""
        self._encoder = None
        self._file.abort()

    @contextlib.contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise as_output_error(self._form.path, error) from None

    def _take(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            pts = packet.pts + self._first_pts
            beside = tuple(
                (name, bytes(packet.get_sidedata(name))) for name in _KEPT_SIDE_DATA if packet.has_sidedata(name)
            )
            self._file.add(Packet(bytes(packet), pts, self._durations.pop(pts), packet.is_keyframe, beside))


class PartSequence:
    """Write neighbouring parts, each into its file.

    Args:
        lengths: Number of each part and how many frames it has, in order.
        begin: Opens the file of a part of this number.
        done: Called with the number and the facts of each finished part.
    """

    def __init__(
        self,
        lengths: Iterable[tuple[int, int]],
        begin: Callable[[int], PartWriter],
        done: Callable[[int, PartFacts], None],
    ) -> None:
        self._waiting = deque(lengths)
        self._begin = begin
        self._done = done
        self._writer: PartWriter | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all parts are finished."""
        return not self._waiting

    def write(self, pixels: Frame, pts: int, duration: int) -> None:
        """Encode the next frame; see `PartWriter.write`."""
        number, length = self._waiting[0]
        if self._writer is None:
            self._writer = self._begin(number)
        self._writer.write(pixels, pts, duration)
        if self._writer.num_frames == length:
            facts = self._writer.close()
            self._writer = None
            self._waiting.popleft()
            self._done(number, facts)

    def abort(self) -> None:
        """Throw the open part away."""
        if self._writer is not None:
            self._writer.abort()
