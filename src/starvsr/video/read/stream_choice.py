"""Which stream of a file is the picture, and what decodes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from starvsr.errors import UnreadableInputError
from starvsr.video.read.iso_boxes import HeifLayout, heif_layout
from starvsr.video.read.opening import DECODER_THREADS


def video_stream(container: Any, path: Path) -> Any:
    """Choose the video stream to work on: the best one that is not cover art.

    Of AVIF and HEIC files it is the primary item, or the first track of pictures.

    Raises:
        UnreadableInputError: There is none, or its codec is unknown.
    """
    layout = _layout(container, path)
    if layout is not None:
        found = _of_number(container, layout.tracks[0] if layout.tracks else layout.primary, layout)
        if found is not None:
            return found
    streams = [s for s in container.streams.video if not is_cover(s)]
    if not streams:
        kinds = sorted({s.type for s in container.streams}) or ["nothing"]
        raise UnreadableInputError(f"{path}: no video in this file (it holds {', '.join(kinds)}); give a video")
    best = container.streams.best("video")
    chosen = best if best is not None and any(s.index == best.index for s in streams) else streams[0]
    if chosen.codec_context is None:
        raise UnreadableInputError(f"{path}: its video codec is unknown to this FFmpeg; convert it to H.264 first")
    return chosen


def alpha_stream(container: Any, path: Path) -> Any:
    """Find the stream that is the transparency of the picture in an AVIF or HEIC file; None where there is none."""
    layout = _layout(container, path)
    if layout is None:
        return None
    if layout.tracks:
        return _of_number(container, layout.alpha_tracks.get(layout.tracks[0]), layout)
    return _of_number(container, layout.alpha_items.get(layout.primary or 0), layout)


def is_part_of_photo(container: Any, path: Path) -> bool:
    """Whether further video streams are items of a photo: transparency, thumbnails, tiles, other photos."""
    return _layout(container, path) is not None


def _layout(container: Any, path: Path) -> HeifLayout | None:
    return heif_layout(path) if container.format.name.startswith("mov") else None


def _of_number(container: Any, number: int | None, layout: HeifLayout) -> Any:
    """Find the stream of an item or a track; items have no length."""
    is_item = not layout.tracks
    fitting = (s for s in container.streams.video if s.id == number and (s.duration is None) == is_item)
    return next((s for s in fitting if s.codec_context is not None), None)


def is_cover(stream: Any) -> bool:
    """Whether a stream is cover art or thumbnails rather than moving pictures."""
    flags = av.stream.Disposition
    return stream.type == "video" and bool(stream.disposition & (flags.attached_pic | flags.timed_thumbnails))


def says_alpha(stream: Any) -> bool:
    """Whether a stream's tags say that its packets bring transparency beside the pictures."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return tags.get("alpha_mode") == "1"


def decoder_for(stream: Any) -> Any:
    """Give the decoder of a stream; VP8/VP9 with alpha need libvpx, FFmpeg's own drops the alpha.

    That of libvpx takes 8 bits only; of more, the pictures are decoded without their transparency.
    """
    context = stream.codec_context
    if says_alpha(stream) and context.name in ("vp8", "vp9") and "p1" not in (context.pix_fmt or ""):
        twin = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[context.name], "r")
        twin.extradata = context.extradata
        twin.options = context.options
        twin.thread_count = DECODER_THREADS
        return twin
    return context
