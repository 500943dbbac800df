"""Open a video that is read once, from beginning to end, and describe it by its headers and its first frame.

Only formats that are read as they come are taken. MP4 and MOV are not: their index may lie at the end, and what it
claims cannot be checked before FFmpeg believes it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starvsr.errors import UnreadableInputError
from starvsr.video.chroma import chroma_location
from starvsr.video.info import VideoInfo
from starvsr.video.pipes.descriptor import STANDARD_INPUT, DescriptorReader
from starvsr.video.read.opening import captured_log, check_claims, decoder_options, reason
from starvsr.video.read.side_data import IDENTITY, UNSAFE_DECODERS, color_tags, orientation, side_notes
from starvsr.video.read.stream_choice import decoder_for, video_stream
from starvsr.video.read.stream_facts import (
    aspect_of,
    field_order,
    is_elementary,
    nominal_rate,
    origin_of,
    stream_info,
)
from starvsr.video.untrusted.limits import Limits
from starvsr.video.untrusted.stalls import StallWatch

NAME = Path(STANDARD_INPUT)
FORMATS = "yuv4mpegpipe,nut,matroska,webm,mpegts,flv,ogg,mpeg,avi,h264,hevc"
READABLE = "y4m, NUT, Matroska, WebM, MPEG-TS, MPEG-PS, FLV, Ogg, AVI, raw H.264 and H.265"
_MOST_SOUND = 256 << 20  # bytes that wait for pictures


class OpenedPipe:
    """A container that is read once, its video stream, and what was decoded to describe it.

    Args:
        source: What is read.
        limits: What the input may ask for.
        wants_sound: Whether packets of sound are kept for who writes.

    Attributes:
        container: The container of PyAV.
        stream: Its video stream.
        sound: Its streams of sound, where they are wanted.
        sound_packets: Those packets that were read, to be taken from the left.
        video_end: Bytes of the input up to the end of the last packet of pictures, as far as the format tells.

    Raises:
        UnreadableInputError: It is empty, or no video that can be read as it comes.
        LimitError: It asks for more than the limits allow.
    """

    def __init__(self, source: DescriptorReader, limits: Limits, *, wants_sound: bool = False) -> None:
        self.source, self.limits = source, limits
        self.container = _open(source, limits)
        try:
            self.stream = video_stream(self.container, NAME)
            self.sound = list(self.container.streams.audio) if wants_sound else []
            self.sound_packets: deque[Any] = deque()
            self.video_end = 0
            self.decoder = decoder_for(self.stream)
            self._packets = self.packets()
            self._begun: list[tuple[Any, list[Any]]] = []
            self.first = self._first_frame()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the container; the descriptor stays open."""
        self.container.close()

    def packets(self) -> Iterator[Any]:
        """Yield the packets of the pictures; those of sound are put aside."""
        num_bytes = 0
        for packet in self.container.demux([self.stream, *self.sound]):
            if packet.stream_index == self.stream.index:
                if packet.size and packet.pos is not None:
                    self.video_end = packet.pos + packet.size
                    num_bytes = 0
                yield packet
            elif packet.size and packet.dts is not None:
                self.sound_packets.append(packet)
                num_bytes += packet.size
                if num_bytes > _MOST_SOUND:
                    raise UnreadableInputError(f"{NAME}: {num_bytes} bytes of sound without a picture; check the input")

    def decoded(self) -> Iterator[tuple[Any, list[Any]]]:
        """Yield each packet with the frames that were decoded to find out what the input is, then others without."""
        yield from self._begun
        self._begun.clear()
        for packet in self._packets:
            yield packet, []

    def _first_frame(self) -> Any:
        watch = StallWatch(NAME, self.limits)
        why = "it holds no frame"
        try:
            for packet in self._packets:
                began, began_work = time.monotonic(), time.process_time()
                try:
                    frames = list(self.decoder.decode(packet))
                except av.error.EOFError:
                    break
                except av.error.FFmpegError as error:
                    frames, why = [], f"its first frames are damaged ({reason(error)})"
                watch.count(began, began_work)
                if frames:
                    self._begun.append((packet, frames))
                    self.limits.check_size(NAME, frames[0].width, frames[0].height)
                    return frames[0]
        except av.error.FFmpegError as error:
            why = reason(error)
        raise UnreadableInputError(f"{NAME}: no picture could be decoded: {why}; check what is written into the pipe")


def _open(source: DescriptorReader, limits: Limits) -> Any:
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "none",
        "max_streams": str(limits.max_streams + 1),
        **decoder_options(limits),
    }
    container: Any = None
    problem: Exception | None = None
    with captured_log() as log:
        try:
            container = av.open(source, "r", options=options, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            problem = error
    if problem is not None:
        raise UnreadableInputError(_why_unreadable(source, log, problem)) from None
    try:
        check_claims(container, NAME, limits)
    except BaseException:
        container.close()
        raise
    return container


def _why_unreadable(source: DescriptorReader, log: list[str], error: BaseException) -> str:
    if not source.head:
        return f"{NAME}: it is empty; check the command that writes into the pipe"
    if source.head[4:8] == b"ftyp":
        return (
            f"{NAME}: MP4 and MOV cannot be read as they come, their index may lie at the end: give the file by its "
            "name, or write NUT or Matroska into the pipe (ffmpeg -f nut)"
        )
    why = "; ".join(line.rstrip(".") for line in log) or reason(error)
    return f"{NAME}: no video that can be read as it comes ({why}); {READABLE} are"


def describe(opened: OpenedPipe, frame_rate: Fraction | None) -> VideoInfo:
    """Describe the input.

    Args:
        opened: The input.
        frame_rate: For raw streams, which have no times.
    """
    container, stream, frame = opened.container, opened.stream, opened.first
    context = opened.decoder
    is_raw = is_elementary(container) and container.format.name != "yuv4mpegpipe"
    has_times = frame.pts is not None and frame.time_base is not None and not is_raw
    rate = nominal_rate(stream, raw=is_raw)
    rate = rate if has_times else frame_rate or rate
    time_base = Fraction(stream.time_base) if has_times else 1 / rate
    origin = origin_of(container, frame) if has_times else Fraction(0)
    color = replace(color_tags(frame, context), chroma_location=chroma_location(frame))
    matrix = IDENTITY if context.name in UNSAFE_DECODERS else orientation(frame, NAME, context.name) or IDENTITY
    aspect = aspect_of(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)
    is_turned = matrix[0] == 0
    return VideoInfo(
        path=NAME,
        kind="video",
        container=container.format.name,
        codec=context.name,
        width=frame.height if is_turned else frame.width,
        height=frame.width if is_turned else frame.height,
        coded_width=frame.width,
        coded_height=frame.height,
        display_matrix=matrix,
        sample_aspect_ratio=1 / aspect if is_turned else aspect,
        frame_rate=rate,
        time_base=time_base,
        start_time=frame.pts * Fraction(frame.time_base) - origin if has_times else Fraction(0),
        origin=origin,
        pixel_format=frame.format.name,
        bit_depth=min(16, max(part.bits for part in frame.format.components)),
        has_alpha=any(part.is_alpha for part in frame.format.components),
        field_order=field_order(stream, frame),
        color=color,
        has_timestamps=has_times,
        streams=tuple(stream_info(one) for one in container.streams),
        notes=tuple(side_notes(NAME, frame, context.name)),
        limits=opened.limits,
    )
