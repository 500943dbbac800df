"""``probe``: find out what an input is, by its headers and its first decoded frame."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.video.exif import Turn, exif_turn
from starvsr.video.images import is_pattern, list_images
from starvsr.video.info import FULL, Chapter, ColorTags, MasteringDisplay, StreamInfo, VideoInfo
from starvsr.video.limits import DEFAULT_LIMITS, Limits
from starvsr.video.opening import has_arbitrary_clock, open_input, reason
from starvsr.video.stalls import StallWatch, refused_size
from starvsr.video.webp import is_animated_webp, probe_webp

DEFAULT_IMAGE_RATE = Fraction(24)
_FIELD_ORDERS = {0: "progressive", 1: "progressive", 2: "top", 3: "bottom", 4: "top", 5: "bottom"}
_IDENTITY = (1, 0, 0, 1)
_ROTATIONS = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 90, (-1, 0, 0, -1): 180, (0, -1, 1, 0): 270}
# FFmpeg counts counter-clockwise
_BY_ROTATION = {0: (1, 0, 0, 1), -90: (0, 1, -1, 0), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}
_LOST_SIDE_DATA = {
    "A53_CC": "closed captions",
    "DOVI_METADATA": "Dolby Vision data",
    "DOVI_RPU_BUFFER": "Dolby Vision data",
    "DYNAMIC_HDR_PLUS": "HDR10+ data",
    "DYNAMIC_HDR_VIVID": "HDR Vivid data",
}
_CLOCK = re.compile(r"([0-9]{1,6}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,12})?)")
_YEAR = 31_557_600
_FARTHEST_START = 300 * _YEAR  # seconds; some cameras count from 1970
_STRANGEST_ASPECT = Fraction(1000)
_LARGEST_DENOMINATOR = 1 << 20
_ALPHA_SCAN_LIMIT = 500
_ALPHA_SCAN_PIXELS = 1 << 31  # past so many, the format's word is taken


def probe(path: str | Path, *, frame_rate: Fraction | None = None, limits: Limits = DEFAULT_LIMITS) -> VideoInfo:
    """Look at a video, an image, a folder of images, or a numbered pattern.

    Args:
        path: The input.
        frame_rate: Rate for inputs without timestamps (images, raw streams); None means 24 for images
            and what the stream says for raw streams.
        limits: What the input may ask for.

    Returns:
        What was found; sizes are those after rotation.

    Raises:
        InputNotFoundError: There is no such file or folder.
        UnreadableInputError: It is empty, not media, has no video stream, no frame, or an unknown codec.
        LimitError: It asks for more than the limits allow.
    """
    path = Path(path)
    if path.is_dir() or (is_pattern(path) and not path.exists()):
        return _probe_images(path, frame_rate or DEFAULT_IMAGE_RATE, limits)
    if is_animated_webp(path):
        return probe_webp(path, limits)
    with open_input(path, limits=limits) as container:
        stream = video_stream(container, path)
        frame = _first_frame(container, stream, path, limits)
        return _describe(path, container, stream, frame, frame_rate, limits)


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


def orientation(frame: Any, path: Path) -> Turn | None:
    """Read how a frame of a file is turned for display; None for turns that are no multiple of 90 degrees."""
    side_data = _side_data(frame)
    if side_data is None:
        return exif_turn(path) or _BY_ROTATION.get(round(frame.rotation))
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data)[:36])
            unit = tuple(round(value / 65536) for value in (a, b, c, d))
            exact = all(abs(value / 65536 - whole) < 0.01 for value, whole in zip((a, b, c, d), unit, strict=True))
            is_turn = abs(unit[0] * unit[3] - unit[1] * unit[2]) == 1 and all(abs(v) <= 1 for v in unit)
            return unit if exact and is_turn else None
    return _IDENTITY


def _side_data(frame: Any) -> list[Any] | None:
    """List a frame's side data; None where PyAV does not know a kind of it (EXIF) and refuses all."""
    try:
        side_data = frame.side_data
        return [side_data[index] for index in range(len(side_data))]
    except ValueError:
        return None


def _side_notes(path: Path, frame: Any) -> list[str]:
    """Name what rides inside the pictures and is lost when they are coded anew."""
    kinds = {data.type.name for data in _side_data(frame) or ()}
    lost = {words for kind, words in _LOST_SIDE_DATA.items() if kind in kinds}
    return [f"{path.name}: {words} inside the pictures cannot be kept" for words in sorted(lost)]


def color_tags(frame: Any, context: Any) -> ColorTags:
    """Read the colour tags of a decoded frame, HDR10 side data included."""
    mastering, light = None, None
    for data in _side_data(frame) or ():
        if data.type.name == "MASTERING_DISPLAY_METADATA":
            mastering = _mastering(bytes(data))
        elif data.type.name == "CONTENT_LIGHT_LEVEL":
            light = struct.unpack("<2I", bytes(data)[:8])
    return ColorTags(
        matrix=int(frame.colorspace),
        range=FULL if frame.format.name.startswith("yuvj") else int(frame.color_range),
        primaries=int(getattr(frame, "color_primaries", context.color_primaries)),
        transfer=int(getattr(frame, "color_trc", context.color_trc)),
        mastering=mastering,
        content_light=light,
    )


def _mastering(data: bytes) -> MasteringDisplay | None:
    """Parse FFmpeg's AVMasteringDisplayMetadata: ten rationals and two flags."""
    values = struct.unpack("<22i", data[:88])
    if not (values[20] and values[21]) or 0 in values[1:20:2]:
        return None
    parts = [Fraction(values[i], values[i + 1]) for i in range(0, 20, 2)]
    return MasteringDisplay(
        red=(parts[0], parts[1]),
        green=(parts[2], parts[3]),
        blue=(parts[4], parts[5]),
        white=(parts[6], parts[7]),
        min_luminance=parts[8],
        max_luminance=parts[9],
    )


def _first_frame(container: Any, stream: Any, path: Path, limits: Limits) -> Any:
    """Decode until a frame comes out.

    Raises:
        UnreadableInputError: None comes out.
        LimitError: The picture is too large, or the decoder works for too long.
    """
    decoder = decoder_for(stream)
    why = "it holds no frame"
    watch = StallWatch(path, limits)
    try:
        for packet in container.demux(stream):
            try:
                with watch:
                    frames = decoder.decode(packet)
                for frame in frames:
                    limits.check_size(path, frame.width, frame.height)
                    return frame
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                why = f"its first frames are damaged ({reason(error)})"
    except av.error.DecoderNotFoundError:
        why = f"its codec {stream.codec_context.name} cannot be decoded by this FFmpeg"
    except av.error.FFmpegError as error:
        why = reason(error)
    width, height = refused_size(path, limits)
    limits.check_size(path, width, height)
    if width:
        why = f"FFmpeg takes no pictures of {width}x{height} pixels"
    raise UnreadableInputError(f"{path}: no picture could be decoded: {why}; check or convert the file")


def nominal_rate(stream: Any) -> Fraction:
    """Choose the frame rate: the guessed one, unless the mean is far from it (variable rate)."""
    mean, guess = stream.average_rate, stream.guessed_rate or stream.base_rate
    if mean and guess and abs(guess - mean) > mean / 10:
        guess = mean
    if not mean and guess and guess * stream.time_base == 1:  # nothing known but the clock
        guess = None
    rate = Fraction(guess or mean or 25)
    return rate if 0 < rate < 100_000 else Fraction(25)


def _describe(path: Path, container: Any, stream: Any, frame: Any, rate: Fraction | None, limits: Limits) -> VideoInfo:
    matrix = orientation(frame, path)
    notes = (
        *_side_notes(path, frame),
        *(() if matrix else (f"{path.name}: turned by an odd angle, which is not kept",)),
    )
    matrix = matrix or _IDENTITY
    is_turned = matrix[0] == 0
    width, height = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
    aspect = _aspect(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)
    has_times = frame.pts is not None and frame.time_base is not None
    is_still = container.format.name.endswith("_pipe") or container.format.name == "image2"
    native_rate = nominal_rate(stream)
    frame_rate = (rate or DEFAULT_IMAGE_RATE) if is_still else (native_rate if has_times else rate or native_rate)
    has_times = has_times and not is_still
    time_base = Fraction(stream.time_base) if has_times else 1 / frame_rate
    origin = _origin(container, frame) if has_times else Fraction(0)
    start_time = frame.pts * Fraction(frame.time_base) - origin if has_times else Fraction(0)
    if abs(start_time) > _FARTHEST_START:
        years = float(start_time / _YEAR)
        raise UnreadableInputError(
            f"{path}: its first frame lies {years:.0f} years from its beginning; write its timestamps anew (ffmpeg)"
        )
    count = 1 if is_still else _promised_frames(stream)
    return VideoInfo(
        path=path,
        kind="image" if is_still else "video",
        container=container.format.name,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        coded_width=frame.width,
        coded_height=frame.height,
        rotation=_ROTATIONS.get(matrix, 0),
        display_matrix=matrix,
        sample_aspect_ratio=1 / aspect if is_turned else aspect,
        frame_rate=frame_rate,
        time_base=time_base,
        num_frames=count,
        duration=1 / frame_rate if is_still else _duration(container, stream, start_time),
        start_time=start_time,
        end_time=_end_time(container, stream) if has_times else None,
        origin=origin,
        pixel_format=frame.format.name,
        bit_depth=max(part.bits for part in frame.format.components),
        has_alpha=_has_alpha(path, stream, frame, limits),
        field_order=_field_order(stream, frame),
        color=color_tags(frame, stream.codec_context),
        has_timestamps=has_times,
        streams=tuple(_stream_info(s) for s in container.streams),
        metadata=dict(container.metadata),
        chapters=_chapters(container),
        notes=notes,
        limits=limits,
    )


def _origin(container: Any, frame: Any) -> Fraction:
    if not has_arbitrary_clock(container.format.name):
        return Fraction(0)
    starts = [s.start_time * Fraction(s.time_base) for s in container.streams if s.start_time is not None]
    return min([*starts, frame.pts * Fraction(frame.time_base)])


def _promised_frames(stream: Any) -> int | None:
    """Count the index entries that are shown (edit lists hide some), else take the header's word."""
    entries = getattr(stream, "index_entries", ())  # since PyAV 17
    if stream.frames and len(entries) == stream.frames:
        return sum(not entry.is_discard for entry in entries)
    return stream.frames or None


def _duration(container: Any, stream: Any, start_time: Fraction) -> Fraction | None:
    end = _end_time(container, stream)
    if end is not None and end > start_time:
        return end - start_time
    if stream.duration and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    if not container.duration:
        return None
    counted_from_zero = container.format.name.startswith("matroska")
    start = container.start_time if counted_from_zero and container.start_time else 0
    return Fraction(container.duration - start, 1_000_000)


def _end_time(container: Any, stream: Any) -> Fraction | None:
    """Find the end of the video stream alone: from the MP4 track, or from Matroska's DURATION tag."""
    if container.format.name.startswith("mov") and stream.duration:
        return (stream.duration + (stream.start_time or 0)) * Fraction(stream.time_base)
    words = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    if words is None:
        return None
    hours, minutes, seconds = (Fraction(word) for word in words.groups())
    return hours * 3600 + minutes * 60 + seconds


def _aspect(found: Fraction | None) -> Fraction:
    """Take the shape of a pixel for what the file says, unless it is none, or needs numbers that no container holds."""
    if not found or not 1 / _STRANGEST_ASPECT <= found <= _STRANGEST_ASPECT:
        return Fraction(1)
    return Fraction(found).limit_denominator(_LARGEST_DENOMINATOR)


def _field_order(stream: Any, frame: Any) -> str:
    order = _FIELD_ORDERS.get(int(getattr(stream.codec_context, "field_order", 0) or 0), "progressive")
    return "unknown" if order == "progressive" and frame.interlaced_frame else order


def _format_has_alpha(frame: Any) -> bool:
    return frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)


def _has_alpha(path: Path, stream: Any, frame: Any, limits: Limits) -> bool:
    """Whether there is transparency; formats that always decode with alpha are looked at frame by frame."""
    if not _format_has_alpha(frame):
        return False
    if stream.codec_context.name not in ("apng", "gif", "png", "webp", "tiff", "bmp", "qtrle"):
        return True
    with open_input(path, limits=limits) as container:
        for count, picture in enumerate(_undamaged(container)):
            alpha = picture.to_ndarray(format="rgba")[..., 3]
            if int(alpha.min()) < 255:
                return True
            if count >= _ALPHA_SCAN_LIMIT:
                break
            if (count + 1) * alpha.size >= _ALPHA_SCAN_PIXELS:
                return True
    return False


def _undamaged(container: Any) -> Iterator[Any]:
    """Decode the first video stream, passing over what cannot be decoded."""
    packets = iter(container.demux(video=0))
    with contextlib.suppress(av.error.FFmpegError):
        for packet in packets:
            with contextlib.suppress(av.error.FFmpegError):
                yield from packet.decode()


def _stream_info(stream: Any) -> StreamInfo:
    context = stream.codec_context
    is_picture = stream.type == "video" and is_cover(stream)
    detail = ""
    if stream.type == "audio" and context is not None:
        detail = f"{context.sample_rate} Hz, {context.layout.name}"
    elif stream.type == "video" and context is not None:
        detail = f"{context.width}x{context.height} {context.pix_fmt or ''}".strip()
    elif stream.type == "attachment":
        detail = stream.metadata.get("filename", "")
    language = stream.metadata.get("language")
    return StreamInfo(
        index=stream.index,
        kind="cover" if is_picture else stream.type,
        codec=context.name if context is not None else "unknown",
        language=None if language == "und" else language,
        title=stream.metadata.get("title"),
        detail=detail,
        sample_rate=context.sample_rate if stream.type == "audio" and context is not None else None,
    )


def _chapters(container: Any) -> tuple[Chapter, ...]:
    if not hasattr(container, "chapters"):
        return ()
    return tuple(
        Chapter(c["start"], c["end"], Fraction(c["time_base"] or Fraction(1, 1_000_000_000)), dict(c["metadata"]))
        for c in container.chapters()
    )


def _probe_images(path: Path, rate: Fraction, limits: Limits) -> VideoInfo:
    from dataclasses import replace

    files, notes = list_images(path)
    if not files:
        raise InputNotFoundError(f"{path}: no images found")
    first = probe(files[0], frame_rate=rate, limits=limits)
    return replace(
        first,
        path=path,
        kind="images",
        container="images",
        num_frames=len(files),
        duration=len(files) / rate,
        files=files,
        streams=(),
        metadata={},
        notes=notes,
    )
