"""Tiny clips made on the spot: each test states what is in its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def moving_bars(count: int, height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """uint8 [T, H, W, C]: a smooth picture that moves, distinct in every frame."""
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for t in range(count):
        red = 127 + 100 * np.sin((x + 5 * t) / 9)
        green = 127 + 100 * np.cos((y - 3 * t) / 7)
        blue = np.full_like(red, 40 + (t * 7) % 170)
        alpha = 255 * (x + t) / (width + count)
        frames.append(np.stack([red, green, blue, alpha][:channels], -1))
    return np.rint(np.stack(frames)).clip(0, 255).astype(np.uint8)


def make_clip(
    path: Path,
    frames: np.ndarray | None = None,
    *,
    count: int = 8,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction = Fraction(25),
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    rotation: int = 0,
    audio: Sequence[str] = (),
    audio_seconds: float = 0.4,
    metadata: dict[str, str] | None = None,
    chapters: Iterable[tuple[int, int, str]] = (),
    attachments: dict[str, bytes] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    interlaced: bool = False,
) -> Path:
    """Encode a clip; tags are (matrix, range, primaries, transfer)."""
    width, height = size
    frames = moving_bars(count, height, width) if frames is None else frames
    height, width = frames.shape[1:3]
    settings = {"crf": "8", "preset": "ultrafast"} if codec in ("libx264", "libx265") else {}
    if codec == "libx265":
        settings["x265-params"] = "log-level=none"
    if interlaced:
        settings["x264-params"] = "tff=1"
    with av.open(str(path), "w", container_options=container_options or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=settings | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = time_base or 1 / rate
        if tags:
            context = stream.codec_context
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = tags
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        sounds = [add_sound(out, name) for name in audio]
        for name, data in (attachments or {}).items():
            out.add_attachment(name, "text/plain", data)
        out.metadata.update(metadata or {})
        chapter_list = [
            {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
            for i, (a, b, title) in enumerate(chapters)
        ]
        if chapter_list:
            out.set_chapters(chapter_list)
        for index, pixels in enumerate(frames):
            name = "rgba" if pixels.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, format=name)
            matrix = tags[0] if tags else 5
            frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=tags[1] if tags else 1)
            frame.pts = pts[index] if pts is not None else index
            frame.time_base = time_base or 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for sound in sounds:
            write_sound(out, sound, audio_seconds)
    return path


def add_sound(out: Any, codec: str) -> Any:
    """Add a mono sound stream at 8 or 48 kHz, whatever the codec takes."""
    stream = out.add_stream(codec, rate=48000)
    stream.codec_context.layout = "mono"
    return stream


def write_sound(out: Any, stream: Any, seconds: float) -> None:
    """Encode a tone."""
    total = int(48000 * seconds)
    context = stream.codec_context
    wave = (0.3 * np.sin(np.arange(total) / 20)).astype(np.float32)
    if context.format.name.startswith("s16"):
        wave = (wave * 32767).astype(np.int16)
    elif context.format.name.startswith("s32"):
        wave = (wave * 2**30).astype(np.int32)
    step = context.frame_size or 1024
    for start in range(0, total, step):
        piece = wave[None, start : start + step]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=context.format.name, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def packets_of(path: Path, kind: str) -> list[list[tuple[Fraction | None, bytes]]]:
    """Per stream of a kind: (time in seconds, bytes) of each packet."""
    with av.open(str(path)) as container:
        found: dict[int, list[tuple[Fraction | None, bytes]]] = {
            s.index: [] for s in container.streams if s.type == kind
        }
        for packet in container.demux():
            if packet.stream.index in found and packet.size:
                time = None if packet.pts is None else packet.pts * Fraction(packet.time_base)
                found[packet.stream.index].append((time, bytes(packet)))
    return list(found.values())
