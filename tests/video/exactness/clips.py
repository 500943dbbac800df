"""Inputs made to order: a frozen description, and the file that it describes.

Every frame carries its number in eight squares of black and white, so that any decoder can say which frame it has,
whatever the codec did to it. Nothing of the package is used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import numpy as np

_LOSSLESS = {
    "libx264": {"preset": "ultrafast", "qp": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "lossless=1:log-level=none"},
    "ffv1": {"level": "3", "g": "1"},
}
_QUICK = {
    "libx264": {"preset": "ultrafast", "crf": "12"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "mpeg4": {"q": "3"},
    "mjpeg": {"q": "3"},
}


@dataclass(frozen=True)
class Tags:
    """Colour description by the code points of H.273; 2 and 0 are "not said"."""

    matrix: int = 2
    range: int = 0
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class Clip:
    """The video stream of an input.

    Attributes:
        suffix: Decides the container.
        codec: FFmpeg's name of the encoder.
        pix_fmt: Pixel format.
        width: In pixels.
        height: In pixels.
        time_base: Seconds per tick that the container is asked to count in.
        pts: Times in ticks, in the order of coding, which is that of showing unless ``bframes``.
        rate: Nominal frames per second.
        bframes: Whether frames are coded out of order.
        by_hand: Whether the packets are given ``pts`` after encoding, which lets them repeat and go back.
        tags: Colour description.
        aspect: Width of a displayed pixel by its height.
        matrix: (a, b, c, d) of the display matrix: pixel (x, y) is shown at (a x + c y, b x + d y).
        options: More for the encoder.
        metadata: Tags of the container.
        stream_tags: Tags of the video stream.
    """

    suffix: str = ".mkv"
    codec: str = "ffv1"
    pix_fmt: str = "yuv420p"
    width: int = 32
    height: int = 32
    time_base: Fraction = Fraction(1, 25)
    pts: tuple[int, ...] = (0, 1, 2)
    rate: Fraction = Fraction(25)
    bframes: bool = False
    by_hand: bool = False
    tags: Tags = field(default_factory=Tags)
    aspect: Fraction = Fraction(1)
    matrix: tuple[int, int, int, int] = (1, 0, 0, 1)
    options: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    stream_tags: tuple[tuple[str, str], ...] = ()


def numbered_luma(number: int, height: int, width: int, low: int, high: int) -> np.ndarray:
    """Draw a number below 256 into [height, width]: four squares above four, the highest bit first."""
    bits = [(number >> (7 - bit)) & 1 for bit in range(8)]
    rows = np.arange(height) * 2 // height
    columns = np.arange(width) * 4 // width
    table = np.array(bits).reshape(2, 4)
    return np.where(table[rows[:, None], columns[None, :]], high, low)


def number_in(luma: np.ndarray) -> int:
    """Read the number back from the luma of a frame [height, width], 8 bits."""
    height, width = luma.shape
    number = 0
    for bit in range(8):
        row, column = divmod(bit, 4)
        y = (height * (2 * row + 1)) // 4
        x = (width * (2 * column + 1)) // 8
        number = 2 * number + int(luma[y, x] > 127)
    return number


def numbered_frames(clip: Clip) -> Iterator[Any]:
    """Yield the numbered frames of a clip, without times."""
    fmt = av.VideoFormat(clip.pix_fmt)
    bits = fmt.components[0].bits
    step = 1 << (bits - 8)
    for number in range(len(clip.pts)):
        frame = av.VideoFrame(clip.width, clip.height, clip.pix_fmt)
        for index, plane in enumerate(frame.planes):
            rows = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
            is_color = index in (1, 2) and not clip.pix_fmt.startswith("gbr")
            if is_color:
                rows[:] = 128 * step
            else:
                rows[:, : plane.width] = numbered_luma(number % 256, plane.height, plane.width, 30 * step, 220 * step)
        yield frame


class ClipFile:
    """An open output of PyAV with the video stream of a clip; other streams can be added before ``write_video``.

    Args:
        path: The file.
        clip: What to write.
        lossless: Whether to encode without loss.
    """

    def __init__(self, path: Path, clip: Clip, *, lossless: bool = False) -> None:
        self.clip = clip
        settings = dict((_LOSSLESS if lossless else _QUICK).get(clip.codec, {})) | dict(clip.options)
        if clip.codec in ("libx264", "libx265") and clip.bframes:
            settings |= {"bf": "2", "preset": "veryfast"}
        elif clip.codec in ("libx264", "libx265"):
            settings["bf"] = "0"
        muxing = {"avoid_negative_ts": "disabled"} if clip.suffix in (".mp4", ".mov") else {}
        if clip.suffix in (".mp4", ".mov"):
            muxing |= {"video_track_timescale": str(_timescale(clip.time_base)), "movie_timescale": "90000"}
            muxing["movflags"] = "+use_metadata_tags"
        self.out: Any = av.open(str(path), "w", container_options=muxing)
        self.stream: Any = self.out.add_stream(clip.codec, rate=clip.rate, options=settings)
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = clip.width, clip.height, clip.pix_fmt
        context.time_base = clip.time_base
        context.thread_count = 1
        tags = clip.tags
        if tags != Tags():
            context.colorspace, context.color_range = tags.matrix, tags.range
            context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        if clip.aspect != 1:
            context.sample_aspect_ratio = clip.aspect
        if clip.matrix != (1, 0, 0, 1):
            a, b, c, d = (value << 16 for value in clip.matrix)
            self.stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        self.stream.metadata.update(dict(clip.stream_tags))
        self.out.metadata.update(dict(clip.metadata))

    def write_video(self, frames: Iterator[Any] | None = None) -> None:
        """Encode the frames, numbered ones if none are given."""
        clip = self.clip
        wanted = iter(zip(clip.pts, reversed(list(accumulate(reversed(clip.pts), min))), strict=True))
        for index, frame in enumerate(frames or numbered_frames(clip)):
            frame.pts, frame.time_base = (index if clip.by_hand else clip.pts[index]), clip.time_base
            self._mux(self.stream.encode(frame), wanted)
        self._mux(self.stream.encode(None), wanted)

    def _mux(self, packets: list[Any], wanted: Iterator[tuple[int, int]]) -> None:
        for packet in packets:
            if self.clip.by_hand:
                packet.pts, packet.dts = next(wanted)  # decoded no later than anything that follows is shown
                packet.time_base, packet.duration = self.clip.time_base, 0
            self.out.mux(packet)

    def __enter__(self) -> ClipFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.out.close()


def write_clip(folder: Path, clip: Clip, *, lossless: bool = False) -> Path:
    """Make the file of a clip that has no other streams."""
    path = folder / f"in{clip.suffix}"
    with ClipFile(path, clip, lossless=lossless) as file:
        file.write_video()
    return path


def _timescale(base: Fraction) -> int:
    return base.denominator
