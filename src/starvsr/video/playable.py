"""Copies that browsers play: the same frames at the same times, in H.264 or VP9, 8 bits, and sound where it is wanted.

Browsers play few codecs. Where one cannot play an input (MPEG-2, HEVC, AVI) or a result (ProRes, FFV1, 10 bits), a copy
stands for it beside the other. It is a copy to look at: 8 bits, coded with loss, large pictures made smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from starvsr.errors import LimitError
from starvsr.video.info import VideoInfo
from starvsr.video.pixels import to_8_bits
from starvsr.video.read.reader import VideoReader
from starvsr.video.write.encoders import EncodeOptions
from starvsr.video.write.writer import VideoWriter

if TYPE_CHECKING:
    from starvsr.video.convert import Frame

_MOST_PIXELS = 3840 * 2160
"""Larger pictures are made smaller: beyond it, decoders of browsers give up or fall behind."""

_SOUND_IN_MP4 = frozenset({"aac", "mp3", "opus", "flac"})
_CODECS = {"mp4": ("h264", "av1", "vp9"), "webm": ("vp8", "vp9", "av1")}
_FORMATS = frozenset({"yuv420p", "yuvj420p"})
_CHECK_EVERY = 16  # frames between looks at the size of the file


@dataclass(frozen=True)
class PlayableCopy:
    """A copy that was written.

    Attributes:
        path: Where it is.
        width: Of its pictures, in pixels.
        height: Of its pictures, in pixels.
        num_frames: As many as the original has.
        has_sound: Whether sound is in it.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    has_sound: bool


def plays_anywhere(info: VideoInfo) -> bool:
    """Whether all current browsers play a file; where this is False, some may."""
    if info.kind == "image":
        return info.codec in ("png", "mjpeg", "gif") and info.bit_depth <= 8
    names = [container for container in _CODECS if container in info.container.split(",")]
    suffix = info.path.suffix.lower().removeprefix(".")
    codecs = _CODECS.get(suffix, ()) if suffix in names else ()
    sound = {stream.codec for stream in info.streams if stream.kind == "audio"}
    known = _SOUND_IN_MP4 if suffix == "mp4" else frozenset({"opus", "vorbis"})
    return info.codec in codecs and info.pixel_format in _FORMATS and sound <= known


def write_playable(
    info: VideoInfo,
    stem: Path,
    *,
    sound: bool,
    isolate: bool = True,
    on_corrupt: str = "error",
    most_bytes: int | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> PlayableCopy:
    """Write a copy that browsers play: MP4, WebM where MP4 would have to hold sound that they do not know, or PNG.

    Args:
        info: What is copied.
        stem: The copy, without suffix; it is written under a name of its own and renamed when it is whole.
        sound: Whether sound is copied, or coded anew as Opus.
        isolate: Decode in a process of its own.
        on_corrupt: As for `VideoReader`.
        most_bytes: Give up beyond this size.
        on_frame: Called with the number of frames so far.

    Raises:
        InputError: The original cannot be read.
        LimitError: The copy would be larger than ``most_bytes``.
        OutputError: It cannot be written.
    """
    suffix, audio = _container(info, sound=sound)
    out = stem.with_name(stem.name + suffix)
    partial = stem.with_name(f"{stem.name}.partial{suffix}")
    partial.unlink(missing_ok=True)
    width, height = _size(info)
    with closing(_open(info, isolate=isolate, on_corrupt=on_corrupt)) as reader:
        if info.kind == "image":
            for frame in reader:
                Image.fromarray(_scaled(to_8_bits(frame.pixels), width, height)).save(partial, compress_level=1)
            partial.replace(out)
            return PlayableCopy(out, width, height, 1, has_sound=False)
        if audio and isolate:
            from starvsr.video.untrusted.isolation.parent import rehearse_isolated
            from starvsr.video.write.containers import container_of

            rehearse_isolated(info, container_of(out.name, suffix), converts_sound=True)
        count = 0
        check = _size_check(info, most_bytes)
        with _writer(info, out, partial, (width, height), audio, check) as writer:
            for frame in reader:
                writer.write(_scaled(to_8_bits(frame.pixels), width, height), frame.pts, frame.duration)
                count = frame.index + 1
                if on_frame is not None:
                    on_frame(count)
                if count % _CHECK_EVERY == 0:
                    check(partial)
    return PlayableCopy(out, width, height, count, has_sound=bool(audio))


def _size_check(info: VideoInfo, most_bytes: int | None) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        if most_bytes is not None and path.stat().st_size > most_bytes:
            raise LimitError(f"{info.path.name}: the copy takes more than the {most_bytes} bytes that are free")

    return check


def _container(info: VideoInfo, *, sound: bool) -> tuple[str, frozenset[int]]:
    """Return the suffix of the copy, and the streams of sound that go into it: the first, as players play no other."""
    if info.kind == "image":
        return ".png", frozenset()
    found = [stream for stream in info.streams if stream.kind == "audio"][: 1 if sound else 0]
    known = all(stream.codec in _SOUND_IN_MP4 for stream in found)
    return ".mp4" if known else ".webm", frozenset(stream.index for stream in found)


def _open(info: VideoInfo, *, isolate: bool, on_corrupt: str) -> VideoReader:
    if not isolate:
        return VideoReader(info.path, info=info, on_corrupt=on_corrupt)
    from starvsr.video.untrusted.isolation.parent import IsolatedReader

    return IsolatedReader(info, on_corrupt=on_corrupt)


def _writer(
    info: VideoInfo,
    out: Path,
    partial: Path,
    size: tuple[int, int],
    audio: frozenset[int],
    on_whole: Callable[[Path], None],
) -> VideoWriter:
    is_odd = bool(size[0] % 2 or size[1] % 2)  # which H.264 holds without loss of a row in 4:4:4 alone
    vp9 = is_odd or out.suffix == ".webm"
    every = max(1, round(info.frame_rate))  # a keyframe each second: a step back decodes no more than that
    fast = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1"} if vp9 else {"tune": "fastdecode"}
    options = EncodeOptions(
        codec="libvpx-vp9" if vp9 else "libx264",
        crf=20 if vp9 else 17,
        preset=None if vp9 else "veryfast",
        pixel_format="yuv420p",
        alpha="drop",
        missing_streams="convert",
        extra={"g": str(every), **fast},
    )
    others = {stream.index: "a copy to look at" for stream in info.streams if stream.index not in audio}
    source = replace(info, metadata={}, chapters=())
    if not audio:  # nothing but the pictures: its other streams are not even opened
        source = replace(source, kind="animation", streams=())
    return VideoWriter(
        out,
        source=source,
        width=size[0],
        height=size[1],
        options=options,
        time_base=info.time_base,
        frame_rate=info.frame_rate,
        bit_depth=8,
        alpha=info.has_alpha,
        overwrite=True,
        partial=partial,
        refused=others,
        on_whole=on_whole,  # when the encoder has given all that it held back
    )


def _size(info: VideoInfo) -> tuple[int, int]:
    """Return width and height of the copy: those of the original, or even ones of the same shape, small enough."""
    share = Fraction(_MOST_PIXELS, info.width * info.height)
    if share >= 1:
        return info.width, info.height
    side = float(share) ** 0.5
    return max(2, int(info.width * side) // 2 * 2), max(2, int(info.height * side) // 2 * 2)


def _scaled(pixels: Frame, width: int, height: int) -> Frame:
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
