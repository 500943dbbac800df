"""Open inputs the way the options say: with their limits, in this process or in one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starvsr.pipelines.options import UpscaleOptions

if TYPE_CHECKING:
    from starvsr.video import VideoInfo, VideoReader


def look_at(path: str | Path, options: UpscaleOptions) -> VideoInfo:
    """Find out what an input is.

    Raises:
        InputError: It cannot be read, or asks for more than the limits allow.
    """
    from starvsr.video import probe

    return probe(path, frame_rate=options.frame_rate, limits=options.limits)


def open_reader(info: VideoInfo, options: UpscaleOptions) -> VideoReader:
    """Open an input for the part and the way that the options name."""
    from starvsr.video import VideoReader

    return VideoReader(
        info.path,
        start=options.start,
        duration=options.duration,
        deinterlace=options.deinterlace,
        on_corrupt=options.on_corrupt,
        frame_rate=options.frame_rate,
        info=info,
    )
