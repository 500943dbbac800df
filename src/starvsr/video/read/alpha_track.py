"""Transparency that is a stream of its own, as in AVIF and HEIC files, beside the pictures that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from starvsr.video.convert import Frame, resolve_tags, to_rgb
from starvsr.video.info import ColorTags
from starvsr.video.read.opening import open_input
from starvsr.video.read.side_data import Turn
from starvsr.video.read.stream_choice import alpha_stream
from starvsr.video.untrusted.limits import Limits


@dataclass(frozen=True)
class Beside:
    """What belongs to a decoded frame: how it is turned, where frames are turned one by one; its transparency."""

    turn: Turn | None = None
    alpha: Any = None


class AlphaTrack:
    """Reads the transparency in step with the pictures.

    Args:
        path: The file; it has such a stream.
        limits: What it may ask for.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._container = open_input(path, limits=limits)
        self._stream = alpha_stream(self._container, path)
        self._frames: Iterator[Any] = iter(self._container.decode(self._stream)) if self._stream else iter(())
        self._held: Any = None

    def of(self, frame: Any) -> Any:
        """Give the frame of transparency that is shown with a frame; None where there is none, or it is damaged."""
        time = _time(frame)
        while self._held is None or (time is not None and (_time(self._held) or 0) < time):
            try:
                found = next(self._frames, None)
            except av.error.FFmpegError:
                found = None
            if found is None:
                return self._held
            self._limits.check_size(self._path, found.width, found.height)
            self._held = found
        return self._held

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def with_alpha(pixels: Frame, alpha: Any) -> Frame:
    """Lay a frame of transparency beside pixels [H, W, 3], scaled to their size; None counts as opaque."""
    height, width = pixels.shape[:2]
    top = int(np.iinfo(pixels.dtype).max)
    plane: Any = np.full((height, width, 1), top, pixels.dtype)
    if alpha is not None:
        if (alpha.width, alpha.height) != (width, height):
            alpha = alpha.reformat(width=width, height=height, threads=1)
        tags = ColorTags(int(alpha.colorspace), int(alpha.color_range))
        gray: Any = to_rgb(alpha, resolve_tags(tags, alpha.format.name, width, height), alpha=False)[..., :1]
        if gray.dtype != pixels.dtype:
            gray = gray.astype(np.uint16) * 257 if top > 255 else (gray // 257).astype(np.uint8)
        plane = gray
    whole: Frame = np.concatenate([pixels[..., :3], plane], -1)
    return whole


def _time(frame: Any) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * Fraction(frame.time_base)
