"""Hostile inputs: small files of every kind, damaged in many ways, and files built to harm. Same seed, same files."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 6
_TAGS = {"title": "A title", "comment": "A comment", "artist": "Nobody"}
# name, encoder, pixel format, options of the encoder, sound, options of the container
_CLIPS: tuple[tuple[str, str, str, dict[str, str], str | None, dict[str, str]], ...] = (
    ("a.mp4", "libx264", "yuv420p", {"preset": "ultrafast"}, "aac", {}),
    ("front.mp4", "libx264", "yuv420p", {"preset": "ultrafast", "bf": "2"}, None, {"movflags": "+faststart"}),
    ("pieces.mp4", "libx264", "yuv420p", {"g": "3"}, "aac", {"movflags": "frag_keyframe+empty_moov"}),
    ("mpeg4.mp4", "mpeg4", "yuv420p", {}, None, {}),
    ("hevc.mp4", "libx265", "yuv420p10le", {"preset": "ultrafast", "x265-params": "log-level=none"}, None, {}),
    ("fields.mov", "libx264", "yuv420p", {"x264-params": "tff=1"}, "pcm_s16le", {}),
    ("prores.mov", "prores_ks", "yuv422p10le", {}, None, {}),
    ("png.mov", "png", "rgba", {}, None, {}),
    ("a.mkv", "libx264", "yuv420p", {"preset": "ultrafast"}, "pcm_s16le", {}),
    ("ffv1.mkv", "ffv1", "yuv444p", {"level": "3"}, "flac", {}),
    ("vp8.webm", "libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, None, {}),
    ("vp9.webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, "libopus", {}),
    ("mpeg4.avi", "mpeg4", "yuv420p", {}, "mp3", {}),
    ("mjpeg.avi", "mjpeg", "yuvj420p", {"strict": "unofficial"}, None, {}),
    ("h264.ts", "libx264", "yuv420p", {"preset": "ultrafast"}, "mp2", {}),
    ("mpeg2.ts", "mpeg2video", "yuv420p", {}, None, {}),
    ("mpeg2.mpg", "mpeg2video", "yuv420p", {}, "mp2", {}),
    ("a.flv", "flv", "yuv420p", {}, None, {}),
    ("a.wmv", "wmv2", "yuv420p", {}, None, {}),
    ("a.mxf", "mpeg2video", "yuv420p", {}, None, {}),
    ("a.nut", "mpeg4", "yuv420p", {}, None, {}),
    ("a.ivf", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, None, {}),
    ("a.y4m", "wrapped_avframe", "yuv420p", {}, None, {}),
    ("raw.h264", "libx264", "yuv420p", {"preset": "ultrafast"}, None, {}),
    ("raw.hevc", "libx265", "yuv420p", {"preset": "ultrafast", "x265-params": "log-level=none"}, None, {}),
    ("raw.m2v", "mpeg2video", "yuv420p", {}, None, {}),
    ("raw.mjpeg", "mjpeg", "yuvj420p", {"strict": "unofficial"}, None, {}),
    ("a.gif", "gif", "rgb8", {}, None, {}),
    ("a.apng", "apng", "rgba", {}, None, {}),
)
_STILLS = ("a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "a.ppm", "a.tga")
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# fields whose numbers claim something: MP4 and AVI by name with the offset behind it, Matroska by element
_CLAIMS = {
    b"mvhd": (12, 16), b"mdhd": (12, 16), b"tkhd": (20, 76, 80), b"stsz": (4, 8), b"stts": (4, 8, 12), b"ctts": (4, 12),
    b"stsc": (4, 8, 12), b"stco": (4, 8), b"elst": (4, 8, 12, 16), b"avc1": (24, 26), b"hvc1": (24, 26), b"mp4v": (24,),
    b"trun": (0, 4, 8), b"tfhd": (4, 8, 12), b"mdat": (-4,), b"moov": (-4,), b"udta": (-4,), b"avcC": (-4, 0, 4),
    b"avih": (4, 8, 20, 36, 40), b"strh": (24, 28, 32, 36), b"strf": (4, 8, 12, 20), b"idx1": (0, 12, 16),
    b"IHDR": (0, 4, 8), b"acTL": (0, 4), b"fcTL": (0, 4, 8, 16), b"ANMF": (0, 4, 16), b"VP8X": (0, 8), b"GIF8": (2, 4),
    b"\x2a\xd7\xb1": (0, 1), b"\x44\x89": (0, 1), b"\x23\xe3\x83": (0, 1), b"\x1f\x43\xb6\x75": (0, 4), b"\xe7": (0, 1),
    b"\xb0": (0, 1), b"\xba": (0, 1), b"\x16\x54\xae\x6b": (0, 1), b"DKIF": (4, 8, 12, 16, 20), b"YUV4": (8, 12),
}  # fmt: skip


def make_seeds(folder: Path) -> dict[str, bytes]:
    """Make one small file of every kind that this FFmpeg can write.

    Returns:
        Their contents by name.
    """
    for name, codec, pixel_format, options, sound, flags in _CLIPS:
        if codec in av.codecs_available and (sound is None or sound in av.codecs_available):
            _encode(folder / name, codec, pixel_format, options, sound, flags)
    picture = Image.fromarray(_pictures(1)[0])
    for name in _STILLS:
        picture.save(folder / name)
    frames = [Image.fromarray(pixels) for pixels in _pictures(NUM_FRAMES)]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:], duration=40)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _pictures(count: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return uint8 [T, H, W, 3]: a smooth picture that moves."""
    y, x = np.mgrid[0:height, 0:width]
    frames = [np.stack([5 * x + 9 * t, 7 * y + 3 * t, 4 * (x + y) + t], -1) for t in range(count)]
    return np.stack(frames).astype(np.uint8)


def _encode(
    path: Path, codec: str, pixel_format: str, options: dict[str, str], sound: str | None, flags: dict[str, str]
) -> None:
    with av.open(str(path), "w", container_options={"fflags": "+bitexact", **flags}) as out:
        video: Any = out.add_stream(codec, rate=25, options={"threads": "1", **options})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pixel_format
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        audio: Any = out.add_stream(sound, rate=48000) if sound else None
        if audio is not None:
            audio.codec_context.layout = "mono" if sound != "mp2" else "stereo"
        if path.suffix in (".mp4", ".mov", ".mkv"):
            out.metadata.update(_TAGS)
            first: Any = {"id": 0, "start": 0, "end": 120, "time_base": Fraction(1, 1000), "metadata": {}}
            first["metadata"]["title"] = "One"
            out.set_chapters([first])
        if path.suffix == ".mkv":
            out.add_attachment("font.ttf", "font/ttf", bytes(range(256)))
        for number, pixels in enumerate(_pictures(NUM_FRAMES)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            _write_sound(out, audio)


def _write_sound(out: Any, stream: Any) -> None:
    context = stream.codec_context
    step = context.frame_size or 1024
    channels = context.layout.nb_channels
    dtype: Any = np.float32 if context.format.name.startswith("flt") else np.int16
    if context.format.name.startswith("s32"):
        dtype = np.int32
    shape = (channels, step) if context.format.is_planar else (1, channels * step)
    for start in range(0, 5 * 1152, step):
        frame = av.AudioFrame.from_ndarray(
            np.zeros(shape, dtype), format=context.format.name, layout=context.layout.name
        )
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


# ---- damage


def hurt(seeds: dict[str, bytes], chance: random.Random) -> tuple[str, str, bytes]:
    """Make one damaged file.

    Returns:
        The kind of damage, the file's name, its content.
    """
    names = sorted(seeds)
    name = chance.choice(names)
    kind = chance.choice(sorted(_DAMAGES))
    data = bytearray(seeds[name])
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = _DAMAGES[kind](data, chance, seeds)
    suffix = Path(chance.choice(names)).suffix if chance.random() < 0.03 else Path(name).suffix
    if name.endswith(("png",)) and chance.random() < 0.8:
        data = bytearray(with_right_sums(bytes(data)))
    return kind, f"{Path(name).stem}{suffix}", bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Choose a place, in the header more often than not."""
    most = len(data) if chance.random() < 0.5 else min(len(data), 700)
    return chance.randrange(max(1, most))


def _flip(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    for _ in range(chance.choice((1, 2, 4, 16, 64))):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return data


def _scribble(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    start, size = _place(data, chance), chance.choice((1, 4, 16, 100))
    fill = chance.choice((b"\0", b"\xff", None))
    size = min(size, len(data) - start)
    data[start : start + size] = fill * size if fill else chance.randbytes(size)
    return data


def _truncate(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    return data[: chance.randrange(1, len(data) + 1)]


def _splice(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    other = seeds[chance.choice(sorted(seeds))]
    return data[: _place(data, chance)] + other[chance.randrange(len(other)) :]


def _repeat(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    start, size = _place(data, chance), chance.choice((8, 64, 300, 2000))
    return data[: start + size] + data[start : start + size] * chance.choice((1, 2, 50)) + data[start + size :]


def _remove(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    start = _place(data, chance)
    del data[start : start + chance.choice((1, 2, 8, 100))]
    return data or bytearray(b"\0")


def _number(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    start = _place(data, chance)
    number = chance.choice((*_NUMBERS, len(data), chance.getrandbits(32)))
    data[start : start + 4] = struct.pack(chance.choice((">I", "<I")), number)
    return data


def _claim(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    """Write an absurd number where a size, a count, a rate or a time is said to lie."""
    places = [
        data.index(word) + len(word) + offset for word, offsets in _CLAIMS.items() if word in data for offset in offsets
    ]
    start = max(0, chance.choice(places or [_place(data, chance)]))
    width = chance.choice((1, 2, 4, 4, 8))
    number = chance.choice((*_NUMBERS, 16384, 65535, 100_000, 10_000_000, chance.getrandbits(31)))
    data[start : start + width] = (number % 256**width).to_bytes(width, chance.choice(("big", "big", "little")))
    return data


def _box(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> bytearray:
    """Double, drop or move a box of an MP4, or a chunk of as much of another file."""
    words = [word for word in (b"moov", b"trak", b"mdat", b"stbl", b"udta", b"stsz", b"moof", b"traf") if word in data]
    if not words:
        return _repeat(data, chance, seeds)
    start = data.index(chance.choice(words)) - 4
    size = min(struct.unpack(">I", data[start : start + 4])[0], len(data) - start)
    box = data[start : start + size]
    how = chance.randrange(3)
    if how == 0:
        return data[: start + size] + box * chance.choice((1, 20)) + data[start + size :]
    del data[start : start + size]
    return data if how == 1 else data[: (place := _place(data, chance))] + box + data[place:]


_DAMAGES: dict[str, Callable[[bytearray, random.Random, dict[str, bytes]], bytearray]] = {
    "bits flipped": _flip,
    "stretches overwritten": _scribble,
    "cut off": _truncate,
    "spliced with another file": _splice,
    "stretches repeated": _repeat,
    "stretches removed": _remove,
    "numbers overwritten": _number,
    "absurd sizes, counts, rates, times": _claim,
    "boxes doubled, dropped, moved": _box,
}


# ---- PNG


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    """Return a grey PNG, black unless told otherwise; ``pixels`` is what is compressed."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes((width + 1) * height) if pixels is None else pixels, 9)
    chunks = png_chunk(b"IHDR", head) + extra + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def with_right_sums(data: bytes) -> bytes:
    """Put the right checksums into a damaged PNG, so that the damage is looked at."""
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        size = struct.unpack(">I", data[place : place + 4])[0]
        if place + 12 + size > len(data):
            break
        out += png_chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + size])
        place += 12 + size
    return bytes(out) + data[place:]
