"""What lies beside the picture: sound, subtitles, chapters, attachments, cover art, tags; and files with them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from hypothesis import strategies as st

from tests.video.exactness.clips import Clip, ClipFile
from tests.video.exactness.strategies import MKV, MOV, MP4, WEBM, Target

MS = Fraction(1, 1000)
_SOUNDS = {
    ".mkv": ["aac", "ac3", "flac", "libopus", "libmp3lame", "pcm_s16le", "alac", "pcm_s24le"],
    ".mp4": ["aac", "ac3", "libmp3lame", "flac", "libopus"],
    ".mov": ["aac", "pcm_s16le", "alac", "pcm_s24le"],
    ".webm": ["libopus"],
    ".ts": ["aac", "ac3", "libmp3lame"],
}
_TEXTS = {
    ".mkv": ["subrip", "ass", "hdmv_pgs_subtitle", "webvtt"],
    ".mp4": ["mov_text"],
    ".mov": ["mov_text"],
    ".webm": ["webvtt"],
    ".ts": [],
}
_FLAGS = ["forced", "comment", "hearing_impaired", "original", "dub", "visual_impaired"]
LANGUAGES = ["eng", "fre", "ger", "jpn", "spa", "chi", "fil", "zxx", ""]
_ASS_HEAD = b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\n\r\n[Events]\r\n"


@dataclass(frozen=True)
class Track:
    """A stream of sound or subtitles.

    Attributes:
        kind: ``audio`` or ``subtitle``.
        codec: FFmpeg's name of the encoder (of the codec, for subtitles).
        rate: Samples a second.
        channels: 1, 2 or 6.
        seconds: Length.
        offset: Seconds by which it begins later than the picture.
        gap: Seconds of silence in the middle that are not coded.
        cues: (start, length) in milliseconds of subtitles.
        tags: Language, title.
        flags: FFmpeg's words for what it is meant for.
    """

    kind: str
    codec: str
    rate: int = 48000
    channels: int = 1
    seconds: float = 0.5
    offset: Fraction = Fraction(0)
    gap: Fraction = Fraction(0)
    cues: tuple[tuple[int, int], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Film:
    """A picture with everything beside it, and where it goes."""

    clip: Clip
    target: Target
    tracks: tuple[Track, ...] = ()
    chapters: tuple[tuple[int, int, str], ...] = ()
    files: tuple[tuple[str, str, bytes], ...] = ()
    cover: str = ""
    first: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn", "Co"], exclude_characters="\ufeff"),
    min_size=1,
    max_size=30,
).filter(lambda text: text.strip() == text)


@st.composite
def sounds(draw: st.DrawFn, suffix: str) -> Track:
    """Draw a stream of sound."""
    codec = draw(st.sampled_from(_SOUNDS[suffix]))
    rates = [48000] if codec in ("libopus", "ac3") else [44100, 48000] + ([8000, 96000] if "pcm" in codec else [])
    return Track(
        "audio",
        codec,
        rate=draw(st.sampled_from(rates)),
        channels=draw(st.sampled_from([1, 2] + ([6] if codec in ("ac3", "flac", "aac") else []))),
        seconds=draw(st.sampled_from([0.05, 0.5, 2.0])),
        offset=draw(st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(731, 1000), Fraction(3)])),
        gap=draw(st.sampled_from([Fraction(0), Fraction(0), Fraction(7, 10)])),
        tags=draw(labels(suffix)),
        flags=tuple(draw(st.lists(st.sampled_from(_FLAGS), max_size=2, unique=True))),
    )


@st.composite
def labels(draw: st.DrawFn, suffix: str) -> tuple[tuple[str, str], ...]:
    """Draw language and title of a stream."""
    language, title = draw(st.sampled_from(LANGUAGES)), draw(st.one_of(st.just(""), words))
    if suffix in (".mov", ".mp4") and not title.isascii():  # FFmpeg reads such titles as MacRoman
        title = "title"
    return tuple((key, value) for key, value in (("language", language), ("title", title)) if value)


@st.composite
def texts(draw: st.DrawFn, suffix: str) -> Track:
    """Draw a stream of subtitles, with pauses and, where the container has them, two lines at once."""
    codec = draw(st.sampled_from(_TEXTS[suffix]))
    chance = random.Random(draw(st.integers(0, 1 << 16)))
    at, cues = draw(st.sampled_from([0, 0, 250])), []
    for _ in range(draw(st.integers(1, 8))):
        length = chance.randint(1, 900)
        cues.append((at, length))
        overlaps = suffix == ".mkv" and chance.random() < 0.3
        at += length // 2 + 1 if overlaps else length + chance.choice([0, 0, 1, 700])
    return Track("subtitle", codec, cues=tuple(cues), tags=draw(labels(suffix)), flags=())


@st.composite
def chapter_lists(draw: st.DrawFn) -> tuple[tuple[int, int, str], ...]:
    """Draw chapters one behind the other, in milliseconds."""
    borders = sorted(draw(st.lists(st.integers(1, 5000), max_size=6, unique=True)))
    return tuple((a, b, draw(words)) for a, b in zip([0, *borders], borders, strict=False))


@st.composite
def films(draw: st.DrawFn) -> Film:
    """Draw an input with all that its container holds, and an output."""
    suffix = draw(st.sampled_from([".mkv", ".mkv", ".mp4", ".mov", ".webm", ".ts"]))
    count = draw(st.integers(5, 30))
    base = {".mp4": Fraction(1, 90000), ".mov": Fraction(1, 600), ".ts": Fraction(1, 90000)}.get(suffix, MS)
    offset = draw(st.sampled_from([Fraction(0), Fraction(0), Fraction(1, 2)]))
    clip = Clip(
        suffix=suffix,
        codec="libvpx-vp9" if suffix == ".webm" else "libx264",
        time_base=base,
        pts=tuple(round((offset + Fraction(index, 25)) / base) for index in range(count)),
        bframes=suffix != ".webm" and draw(st.booleans()),
        metadata=draw(container_labels()) if suffix != ".ts" else (),
        stream_tags=draw(labels(suffix)) if suffix != ".ts" else (),
    )
    tracks = draw(st.lists(sounds(suffix), max_size=3))
    if _TEXTS[suffix]:
        tracks += draw(st.lists(texts(suffix), max_size=2))
    is_mkv = suffix == ".mkv"
    return Film(
        clip,
        draw(st.sampled_from([MKV, MKV, MP4, MOV, WEBM])),
        tracks=tuple(tracks),
        chapters=draw(chapter_lists()) if suffix not in (".ts", ".webm") else (),
        files=draw(enclosures()) if is_mkv else (),
        cover=draw(st.sampled_from(["", "mjpeg", "png"])) if is_mkv else "",
        first=draw(st.booleans()),
    )


@st.composite
def films_without_lengths(draw: st.DrawFn) -> Film:
    """Draw a Matroska with ALAC, whose packets have no length there, that goes where lengths are needed."""
    count = draw(st.integers(1, 30))
    clip = Clip(suffix=".mkv", codec="libx264", time_base=MS, pts=tuple(40 * index for index in range(count)))
    track = replace(
        draw(sounds(".mkv")),
        codec="alac",
        rate=draw(st.sampled_from([8000, 44100, 48000, 96000])),
        channels=draw(st.sampled_from([1, 2, 6])),
        seconds=draw(st.sampled_from([0.01, 0.05, 0.5, 2.0])),
    )
    return Film(clip, draw(st.sampled_from([MP4, MOV])), tracks=(track,), first=draw(st.booleans()))


@st.composite
def container_labels(draw: st.DrawFn) -> tuple[tuple[str, str], ...]:
    """Draw tags of a container: common ones and ones of its own."""
    keys = draw(st.lists(st.sampled_from(["title", "artist", "comment", "date", "my_key", "genre"]), unique=True))
    return tuple((key, draw(words)) for key in keys)


@st.composite
def enclosures(draw: st.DrawFn) -> tuple[tuple[str, str, bytes], ...]:
    """Draw attached files."""
    names = draw(st.lists(st.sampled_from(["a.ttf", "b.otf", "notes ü.txt", "../up.bin"]), max_size=2, unique=True))
    kinds = {"ttf": "font/ttf", "otf": "font/otf", "txt": "text/plain", "bin": "application/octet-stream"}
    return tuple((name, kinds[name[-3:]], draw(st.binary(min_size=1, max_size=300))) for name in names)


def write_film(folder: Path, film: Film) -> Path:
    """Make the file."""
    path = folder / f"in{film.clip.suffix}"
    with ClipFile(path, film.clip) as file:
        streams = [_add(file.out, track) for track in film.tracks]
        for name, kind, data in film.files:
            file.out.add_attachment(name, kind, data)
        if film.cover:
            suffix = {"mjpeg": "jpg", "png": "png"}[film.cover]
            file.out.add_attachment(
                f"cover.{suffix}", f"image/{'jpeg' if suffix == 'jpg' else 'png'}", cover(film.cover)
            )
        if film.chapters:
            file.out.set_chapters(
                [
                    {"id": i, "start": a, "end": b, "time_base": MS, "metadata": {"title": title}}
                    for i, (a, b, title) in enumerate(film.chapters)
                ]
            )
        file.write_video()
        for track, stream in zip(film.tracks, streams, strict=True):
            for packet in _packets(track, stream):
                file.out.mux(packet)
    return path


def cover(codec: str) -> bytes:
    """Draw a picture and encode it."""
    context: Any = av.CodecContext.create(codec, "w")
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
    context.width, context.height, context.pix_fmt, context.time_base = 24, 18, pix_fmt, Fraction(1)
    pixels = np.arange(18 * 24 * 3, dtype=np.uint32).reshape(18, 24, 3).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels).reformat(format=pix_fmt)
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def _add(out: Any, track: Track) -> Any:
    if track.kind == "audio":
        stream = out.add_stream(track.codec, rate=track.rate)
        stream.codec_context.layout = {1: "mono", 2: "stereo", 6: "5.1"}[track.channels]
    else:
        stream = out.add_stream("ass") if track.codec == "ass" else out.add_mux_stream(track.codec)
        stream.time_base = MS
        if track.codec == "ass":
            stream.codec_context.subtitle_header = _ASS_HEAD
    stream.metadata.update(dict(track.tags))
    flags = 0
    for name in track.flags:
        flags |= int(getattr(av.stream.Disposition, name))
    stream.disposition = flags
    return stream


def _packets(track: Track, stream: Any) -> Iterator[Any]:
    if track.kind == "subtitle":
        for number, (start, length) in enumerate(track.cues):
            packet = av.Packet(_cue(track.codec, number))
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = length, MS, stream
            yield packet
        return
    middle = track.seconds / 2
    for packet in _encoded(track, stream):
        base = Fraction(packet.time_base)
        late = track.offset + (track.gap if packet.pts * base > middle else 0)
        packet.pts += round(late / base)
        packet.dts += round(late / base)
        yield packet


def _encoded(track: Track, stream: Any) -> Iterator[Any]:
    context = stream.codec_context
    total = int(track.rate * track.seconds)
    wave = 0.3 * np.sin(np.arange(total)[None] / (20 + np.arange(track.channels)[:, None]))
    name = context.format.name
    step = context.frame_size or 1024
    for start in range(0, total, step):
        piece = wave[:, start : start + step]
        scaled = piece * 32000 if name.startswith("s16") else piece * 2**30 if name.startswith("s32") else piece
        kind = np.int16 if name.startswith("s16") else np.int32 if name.startswith("s32") else np.float32
        samples = scaled.astype(kind)
        if not name.endswith("p"):
            samples = samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=name, layout=context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = track.rate, start, Fraction(1, track.rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _cue(codec: str, number: int) -> bytes:
    text = f"line {number} <i>é</i>".encode()
    if codec == "mov_text":
        return len(text).to_bytes(2, "big") + text
    if codec == "ass":
        return f"{number},0,Default,,0,0,0,,line {number}".encode()
    if codec == "hdmv_pgs_subtitle":
        palette = bytes([0, number, 1, 16, 128, 128, 255])
        return b"\x14\x00\x07" + palette + b"\x80\x00\x00"
    return text
