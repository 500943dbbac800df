"""Where the samples of subsampled chroma lie between those of luma.

H.264, H.265 and MPEG-2 have them at the left of the pixels that they stand for, JPEG and MPEG-1 in the middle, Ultra HD
discs at the top left. swscale converts by what a frame is marked with, and takes unmarked ones for "center". PyAV does
not read that mark, so it is found by a conversion of known pixels; `starvsr.video.convert` sets it.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np

CENTER = "center"
_SIDE = 32  # pixels of the picture that is converted to find out
_SLOPE = 4  # codes per pixel
_WHERE = {  # FFmpeg's names, by the distance from the top left luma sample, in pixels
    (0.0, 0.5): "left",
    (0.5, 0.5): CENTER,
    (0.0, 0.0): "topleft",
    (0.5, 0.0): "top",
    (0.0, 1.0): "bottomleft",
    (0.5, 1.0): "bottom",
}
_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000 | 0x80000  # bicubic, full chroma, accurate rounding, bitexact
_IN_STREAM = {  # what the decoder takes for granted, or is told by the stream itself
    "libx264": tuple(_WHERE.values()),
    "libx265": tuple(_WHERE.values()),
    "libsvtav1": ("left", "topleft"),
    "mpeg4": ("left",),
    "mpeg2video": ("left",),
}
_TELLING = ("matroska", "webm")  # containers that tell it of every codec
_TOLD_BY_MATROSKA = ("left", "topleft", "top")


def is_subsampled(pixel_format: str) -> bool:
    """Whether a format has fewer samples of chroma than of luma."""
    fmt = av.VideoFormat(pixel_format)
    return not fmt.is_rgb and (fmt.chroma_width(16) < 16 or fmt.chroma_height(16) < 16)


def chroma_location(frame: Any) -> str:
    """Find out where the chroma samples of a decoded frame lie.

    Returns:
        FFmpeg's name: ``left``, ``topleft``, ...; ``center`` also where nothing is said, or nothing is subsampled.
    """
    if not is_subsampled(frame.format.name):
        return CENTER
    try:
        ramps = frame.reformat(width=2 * _SIDE, height=_SIDE, format="yuv444p", threads=1)  # keeps the mark
        rows, columns = np.mgrid[:_SIDE, : 2 * _SIDE]
        for plane, values in zip(ramps.planes, (0 * rows, columns, rows), strict=True):
            samples = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
            samples[:, : plane.width] = (_SLOPE * values) % 256
        small = ramps.reformat(format="yuv420p", interpolation=_FLAGS, src_color_range=1, dst_color_range=1, threads=1)
    except (av.error.FFmpegError, ValueError):
        return CENTER
    place = _SIDE // 4
    across, down = (_sample(small.planes[index], place) / _SLOPE - 2 * place for index in (1, 2))
    return _WHERE.get((round(2 * across) / 2, round(2 * down) / 2), CENTER)


def _sample(plane: Any, place: int) -> int:
    return int(np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[place, place])


def location_in(container: str, codec: str, pixel_format: str, location: str) -> str:
    """Say where an output has its chroma samples: where the input has them, if the output can tell that to players.

    Args:
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        pixel_format: What is encoded.
        location: Where the input has them.
    """
    if not is_subsampled(pixel_format):
        return CENTER
    told = _IN_STREAM.get(codec, _TOLD_BY_MATROSKA if container in _TELLING else ())
    return location if location in told else CENTER
