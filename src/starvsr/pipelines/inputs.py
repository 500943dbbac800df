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
    if options.isolate:
        from starvsr.video.isolation.parent import probe_isolated

        return probe_isolated(path, frame_rate=options.frame_rate, limits=options.limits)
    from starvsr.video import probe

    return probe(path, frame_rate=options.frame_rate, limits=options.limits)


def open_reader(info: VideoInfo, options: UpscaleOptions) -> VideoReader:
    """Open an input for the part and the way that the options name."""
    if options.isolate:
        from starvsr.video.isolation.parent import IsolatedReader

        return IsolatedReader(
            info,
            start=options.start,
            duration=options.duration,
            deinterlace=options.deinterlace,
            on_corrupt=options.on_corrupt,
        )
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


def rehearse_copying(info: VideoInfo, out: Path, options: UpscaleOptions) -> None:
    """With ``isolate``: let another process go through the streams first that this one is going to copy.

    Raises:
        InputError: The other process did not live through it.
    """
    from starvsr.video.encoders import container_of
    from starvsr.video.images import IMAGE_SUFFIXES, is_pattern

    if not options.isolate or info.kind != "video" or is_pattern(out) or out.suffix.lower() in ("", *IMAGE_SUFFIXES):
        return
    from starvsr.video.isolation.parent import rehearse_isolated

    rehearse_isolated(info, container_of(out.name, out.suffix))
