"""``probe``: find out what an input is, by its headers and its first decoded frame."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.video.chroma import chroma_location
from starvsr.video.info import FULL, ColorTags, PhotoData, VideoInfo
from starvsr.video.patterns import is_pattern
from starvsr.video.pixel_formats import is_float, is_rgb
from starvsr.video.read.animations import num_plays
from starvsr.video.read.clock import Survey, survey
from starvsr.video.read.images import list_images
from starvsr.video.read.opening import check_file, open_input, reason
from starvsr.video.read.photo_data import PHOTO_CODECS, photo_beside, png_light
from starvsr.video.read.photo_sizes import first_of_other_size
from starvsr.video.read.side_data import IDENTITY, color_tags, orientation, profile_beside, side_notes
from starvsr.video.read.stills import check_tiles, probe_still, rescue, wants_pillow
from starvsr.video.read.stream_choice import alpha_stream, decoder_for, says_alpha, video_stream
from starvsr.video.read.stream_facts import (
    aspect_of,
    chapters_of,
    duration_of,
    end_time,
    field_order,
    is_elementary,
    may_step,
    nominal_rate,
    origin_of,
    promised_frames,
    stream_info,
)
from starvsr.video.read.webp import is_animated_webp, probe_webp
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits
from starvsr.video.untrusted.stalls import StallWatch, refused_size

DEFAULT_IMAGE_RATE = Fraction(24)
_ROTATIONS = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 90, (-1, 0, 0, -1): 180, (0, -1, 1, 0): 270}
_REPEATING = ("mpeg1video", "mpeg2video", "h264", "hevc", "vc1")  # may show a field of a picture twice
_MOTION_JPEG = (".mjpeg", ".mjpg", ".mjpe")
_YEAR = 31_557_600
_FARTHEST_START = 300 * _YEAR  # seconds; some cameras count from 1970
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
    if os.path.isdir(path) or is_pattern(path):
        return _probe_images(path, frame_rate or DEFAULT_IMAGE_RATE, limits)
    check_file(path)
    if is_animated_webp(path):
        return probe_webp(path, limits)
    if wants_pillow(path):
        return probe_still(path, frame_rate or DEFAULT_IMAGE_RATE, limits)
    check_tiles(path)
    try:
        with open_input(path, limits=limits) as container:
            stream = video_stream(container, path)
            frame, packet = _first_frame(container, stream, path, limits)
            return _describe(path, container, stream, frame, packet, frame_rate, limits)
    except UnreadableInputError:
        if not (path.is_file() and rescue(path, limits)):
            raise
    return probe_still(path, frame_rate or DEFAULT_IMAGE_RATE, limits)


def _first_frame(container: Any, stream: Any, path: Path, limits: Limits) -> tuple[Any, Any]:
    """Decode until a frame comes out; gives it, and the packet that brought it out.

    Raises:
        UnreadableInputError: None comes out.
        LimitError: The picture is too large, or the decoder works for too long.
    """
    decoder = decoder_for(stream)
    why = "it holds no frame"
    watch = StallWatch(path, limits)
    try:
        for packet in container.demux(stream):
            began, began_work = time.monotonic(), time.process_time()
            try:
                frames = decoder.decode(packet)
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                frames, why = [], f"its first frames are damaged ({reason(error)})"
            watch.count(began, began_work)
            for frame in frames:
                limits.check_size(path, frame.width, frame.height)
                return frame, packet
    except av.error.DecoderNotFoundError:
        why = f"its codec {stream.codec_context.name} cannot be decoded by this FFmpeg"
    except av.error.FFmpegError as error:
        why = reason(error)
    width, height = refused_size(path, limits)
    limits.check_size(path, width, height)
    if width:
        why = f"FFmpeg takes no pictures of {width}x{height} pixels"
    raise UnreadableInputError(f"{path}: no picture could be decoded: {why}; check or convert the file")


def _describe(
    path: Path, container: Any, stream: Any, frame: Any, packet: Any, rate: Fraction | None, limits: Limits
) -> VideoInfo:
    context = decoder_for(stream)
    matrix = orientation(frame, path, context.name)
    notes = (
        *side_notes(path, frame, context.name),
        *(() if matrix else (f"{path.name}: turned by an odd angle, which is not kept",)),
        *_format_notes(path, container, stream, frame),
    )
    matrix = matrix or IDENTITY
    is_turned = matrix[0] == 0
    width, height = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
    aspect = aspect_of(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)
    is_raw = is_elementary(container) or _is_motion_jpeg(path, container)
    has_times = frame.pts is not None and frame.time_base is not None and not is_raw
    is_still = _is_still(path, container)
    found = survey(path, limits) if not is_still and (is_raw or may_step(container)) else None
    native_rate = nominal_rate(stream, raw=is_raw, interval=found.interval if found is not None else None)
    frame_rate = (rate or DEFAULT_IMAGE_RATE) if is_still else (native_rate if has_times else rate or native_rate)
    has_times = has_times and not is_still
    time_base = Fraction(stream.time_base) if has_times else 1 / frame_rate
    has_fields = found is not None and stream.codec_context.name in _REPEATING and found.repeats(native_rate)
    if has_fields and is_raw:
        time_base /= 2  # fields
    steps = found.num_steps if found is not None and has_times else 0
    origin = origin_of(container, frame) if has_times else Fraction(0)
    if found is not None and found.start is not None and steps:
        origin = found.start
    start_time = frame.pts * Fraction(frame.time_base) - origin if has_times else Fraction(0)
    if abs(start_time) > _FARTHEST_START:
        years = float(start_time / _YEAR)
        raise UnreadableInputError(
            f"{path}: its first frame lies {years:.0f} years from its beginning; write its timestamps anew (ffmpeg)"
        )
    count = 1 if is_still else promised_frames(stream)
    if found is not None and is_raw:
        fields = found.num_fields(native_rate) if has_fields else 2 * found.num_packets
        length: Fraction | None = fields / (2 * frame_rate)
    else:
        length = _surveyed_length(found, origin + start_time)
    if steps:
        notes += (f"{path.name}: its clock steps {steps} times, as in joined recordings; all streams go on over them",)
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
        duration=1 / frame_rate if is_still else length or duration_of(container, stream, start_time),
        start_time=start_time,
        end_time=end_time(container, stream) if has_times else None,
        origin=origin,
        clock_steps=steps,
        pixel_format=frame.format.name,
        bit_depth=min(16, max(part.bits for part in frame.format.components)),
        has_alpha=_has_alpha(path, container, stream, frame, limits),
        field_order=field_order(stream, frame),
        color=_color(path, container, frame, packet, context, limits),
        has_timestamps=has_times,
        streams=tuple(stream_info(s) for s in container.streams),
        metadata=dict(container.metadata),
        chapters=chapters_of(container),
        photo=_photo(path, container, frame, packet, context.name, limits),
        num_plays=num_plays(path) if context.name in ("gif", "apng") else None,
        notes=notes,
        limits=limits,
    )


def _photo(path: Path, container: Any, frame: Any, packet: Any, decoder: str, limits: Limits) -> PhotoData:
    """Ask for what a photo carries where there may be one: in Matroska, AVI and others, by the codec alone."""
    is_video = container.format.name.startswith(("matroska", "avi", "mpeg", "flv", "asf"))
    if is_video and decoder not in PHOTO_CODECS and profile_beside(frame, decoder) is None:
        return PhotoData()
    return photo_beside(path, container, frame, packet, decoder, limits)


def _is_still(path: Path, container: Any) -> bool:
    """Whether a file is one picture; raw Motion JPEG is many, which only its name tells."""
    name = container.format.name
    return bool(name.endswith("_pipe") or name == "image2") and not _is_motion_jpeg(path, container)


def _is_motion_jpeg(path: Path, container: Any) -> bool:
    return bool(container.format.name == "jpeg_pipe") and path.suffix.lower() in _MOTION_JPEG


def _surveyed_length(found: Survey | None, start: Fraction) -> Fraction | None:
    """Say how long the pictures last, where all packets were looked at; None where that tells nothing."""
    is_known = found is not None and found.video_end is not None and found.video_end > start
    return found.video_end - start if is_known and found is not None and found.video_end is not None else None


def _color(path: Path, container: Any, frame: Any, packet: Any, context: Any, limits: Limits) -> ColorTags:
    tags = replace(color_tags(frame, context), chroma_location=chroma_location(frame))
    if context.name == "jpeg2000" and container.format.name == "j2k_pipe" and not is_rgb(frame.format.name):
        return replace(tags, matrix=5, range=FULL)  # sYCC, as photos are
    if context.name not in ("png", "apng"):
        return tags
    is_file = container.format.name in ("png_pipe", "apng", "image2")
    mastering, light = png_light(path if is_file else bytes(packet), limits.max_metadata)
    return replace(tags, mastering=mastering, content_light=light)


def _format_notes(path: Path, container: Any, stream: Any, frame: Any) -> Iterator[str]:
    if says_alpha(stream) and not _format_has_alpha(frame):
        yield f"{path.name}: its transparency cannot be decoded here and is lost"
    if alpha_stream(container, path) is not None:
        yield f"{path.name}: its transparency, a stream of its own, is joined to the pictures"
    if is_float(frame.format.name):
        yield f"{path.name}: floating-point samples, of which 0 to 1 is kept"


def _format_has_alpha(frame: Any) -> bool:
    return frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)


def _has_alpha(path: Path, opened: Any, stream: Any, frame: Any, limits: Limits) -> bool:
    """Whether there is transparency; formats that always decode with alpha are looked at frame by frame."""
    if alpha_stream(opened, path) is not None:
        return True
    if not _format_has_alpha(frame):
        return False
    is_still = opened.format.name.endswith("_pipe") or opened.format.name == "image2"
    if not is_still and stream.codec_context.name not in ("apng", "gif", "png", "webp", "tiff", "bmp", "qtrle"):
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


def _probe_images(path: Path, rate: Fraction, limits: Limits) -> VideoInfo:
    files, notes = list_images(path)
    if not files:
        raise InputNotFoundError(f"{path}: no images found")
    first = probe(files[0], frame_rate=rate, limits=limits)

    def measure(file: Path) -> tuple[int, int]:
        found = probe(file, limits=limits)
        return found.width, found.height

    return replace(
        first,
        other_size=first_of_other_size(files, (first.width, first.height), measure),
        path=path,
        kind="images",
        container="images",
        num_frames=len(files),
        duration=len(files) / rate,
        files=files,
        streams=(),
        metadata={},
        notes=(*notes, *first.notes),
    )
