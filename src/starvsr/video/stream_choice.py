"""Which stream of a file is the picture, and what decodes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from starvsr.errors import UnreadableInputError


def video_stream(container: Any, path: Path) -> Any:
    """Choose the video stream to work on: the best one that is not cover art.

    Raises:
        UnreadableInputError: There is none, or its codec is unknown.
    """
    streams = [s for s in container.streams.video if not is_cover(s)]
    if not streams:
        kinds = sorted({s.type for s in container.streams}) or ["nothing"]
        raise UnreadableInputError(f"{path}: no video in this file (it holds {', '.join(kinds)}); give a video")
    best = container.streams.best("video")
    chosen = best if best is not None and any(s.index == best.index for s in streams) else streams[0]
    if chosen.codec_context is None:
        raise UnreadableInputError(f"{path}: its video codec is unknown to this FFmpeg; convert it to H.264 first")
    return chosen


def is_cover(stream: Any) -> bool:
    """Whether a stream is cover art or thumbnails rather than moving pictures."""
    flags = av.stream.Disposition
    return stream.type == "video" and bool(stream.disposition & (flags.attached_pic | flags.timed_thumbnails))


def decoder_for(stream: Any) -> Any:
    """Give the decoder of a stream; VP8/VP9 with alpha need libvpx, FFmpeg's own drops the alpha."""
    context = stream.codec_context
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if tags.get("alpha_mode") == "1" and context.name in ("vp8", "vp9"):
        twin = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[context.name], "r")
        twin.extradata = context.extradata
        twin.options = context.options
        return twin
    return context
