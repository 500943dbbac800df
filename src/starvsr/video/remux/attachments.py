"""Attachments and cover art, which only Matroska holds as such."""

from __future__ import annotations

from typing import Any

from starvsr.video.info import VideoInfo
from starvsr.video.read.opening import open_input
from starvsr.video.remux.tags import copy_tags
from starvsr.video.write.containers import muxer_word

_COVER_SUFFIX = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "webp": ("webp", "image/webp")}


def attach(output: Any, muxer: str, stream: Any, info: VideoInfo) -> str | None:
    """Attach an attachment or a cover to an output; say why not where that fails.

    Args:
        output: The open output container of PyAV.
        muxer: Its FFmpeg name.
        stream: The stream of the input.
        info: The input.
    """
    if muxer != "matroska":
        kind = "attachments" if stream.type == "attachment" else "cover art"
        return f"{muxer_word(muxer)} holds no {kind}; .mkv does"
    if stream.type != "attachment":
        return _attach_cover(output, stream, info)
    name = stream.metadata.get("filename", f"attachment{stream.index}")
    target = output.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)
    copy_tags(stream, target)
    return None


def _attach_cover(output: Any, stream: Any, info: VideoInfo) -> str | None:
    suffix, mime = _COVER_SUFFIX.get(stream.codec_context.name, ("bin", "application/octet-stream"))
    with open_input(info.path, limits=info.limits) as container:
        packet = next((p for p in container.demux(container.streams[stream.index]) if p.size), None)
    if packet is None:
        return "the picture is missing in the input"
    name = stream.metadata.get("filename", f"cover.{suffix}")
    target = output.add_attachment(name, stream.metadata.get("mimetype", mime), bytes(packet))
    copy_tags(stream, target)
    return None
