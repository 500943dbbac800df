"""Which encoder, pixel format and settings an output gets: defaults by name, refusals with a reason.

Odd widths or heights cannot be stored as 4:2:0 H.264/H.265, so those two fall back to 4:4:4 there
(exact size, fewer players) and say so; at scale 2 and 4 all sizes are even.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import av

from starvsr.errors import OptionError
from starvsr.video.chroma import CENTER, location_in
from starvsr.video.convert import resolve_tags
from starvsr.video.info import FULL, LIMITED, UNSPECIFIED, ColorTags, PhotoData, VideoInfo
from starvsr.video.pixel_formats import is_gray, is_rgb
from starvsr.video.read.opening import captured_log, reason
from starvsr.video.write.encoder_settings import keeps_hdr10, special_settings
from starvsr.video.write.photo_metadata import photo_notes

_HARDWARE = ("_nvenc", "_videotoolbox", "_qsv", "_vaapi", "_amf", "_mf")
_DEFAULT_CRF = {"libx264": 17, "libx265": 18, "libsvtav1": 22, "libvpx-vp9": 22, "mpeg4": 2, "mpeg2video": 2}
_DEFAULT_PRESET = {"libx264": "medium", "libx265": "medium", "libsvtav1": "8", "libvpx-vp9": "4"}
_CRF_TOP = {"libx264": 51, "libx265": 51, "libsvtav1": 63, "libvpx-vp9": 63, "mpeg4": 31, "mpeg2video": 31}
_QUANTIZER = ("mpeg4", "mpeg2video")  # codecs whose crf is the quantizer, from 1
_LAMBDA = 118  # of FFmpeg's global_quality, per step of the quantizer
_CODECS_OF = {
    "mp4": ("libx264", "libx265", "libsvtav1", "libvpx-vp9"),
    "mov": ("libx264", "libx265", "prores_ks"),
    "matroska": ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "ffv1"),
    "webm": ("libvpx-vp9", "libsvtav1"),
    "avi": ("mpeg4", "ffv1"),  # readers show H.264 in AVI a frame late
    "mpegts": ("libx264", "libx265", "mpeg2video"),
}
_SHORT = {
    "av1": "libsvtav1",
    "h264": "libx264",
    "h265": "libx265",
    "hevc": "libx265",
    "mpeg2": "mpeg2video",
    "prores": "prores_ks",
    "vp9": "libvpx-vp9",
    "x264": "libx264",
    "x265": "libx265",
    "xvid": "mpeg4",
}
# narrower pictures make libx265 (seen in 4.2) write beyond its buffers
_MIN_SIDE = {"libx265": 64}
_MAX_SIDE = {
    "mpeg4": 8191,
    "mpeg2video": 4095,
    "libx264": 16384,
    "libx265": 16384,
    "libsvtav1": 16384,
    "libvpx-vp9": 65535,
}


@dataclass(frozen=True)
class EncodeOptions:
    """How the output is encoded; None leaves the choice to the output's name and the input.

    Attributes:
        codec: ``libx264``, ``libx265``, ``libsvtav1``, ``libvpx-vp9``, ``prores_ks``, ``ffv1``, ``mpeg4``,
            ``mpeg2video`` (or ``h264``, ``hevc``, ``av1``, ``vp9``, ``prores``, ``mpeg2``), or a hardware encoder such
            as ``h264_nvenc``.
        crf: Constant quality, lower is better: 0..51 for H.264/H.265, 0..63 for AV1/VP9, 1..31 for MPEG-4 and MPEG-2.
        preset: Speed word or number of the encoder.
        pixel_format: FFmpeg's name, e.g. ``yuv444p10le``.
        alpha: ``keep`` refuses outputs that cannot hold the transparency, ``drop`` shows it on black.
        missing_streams: ``note`` leaves out sound and others that the container cannot hold and says so, ``convert``
            codes such sound anew (AAC, Opus in WebM, FLAC or ALAC for lossless sound), ``error`` refuses. Text
            subtitles always become the container's own kind of text.
        faststart: Put the index of MP4/MOV in front, so that browsers start at once.
        extra: More options for the encoder, by FFmpeg's names.
        threads: Most threads of encoders whose bytes do not depend on it (ProRes, FFV1); None leaves it to them.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    alpha: str = "keep"
    missing_streams: str = "note"
    faststart: bool = True
    extra: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True)
class EncodePlan:
    """What was decided.

    Attributes:
        codec: Encoder name of FFmpeg.
        pixel_format: Pixel format that is encoded.
        color: Resolved tags that are written, and that RGB is converted with.
        settings: Encoder options.
        tag: Four-character code, or None for FFmpeg's choice.
        has_alpha: Whether frames are written with four channels.
        notes: What the user should know.
    """

    codec: str
    pixel_format: str
    color: ColorTags
    settings: dict[str, str]
    tag: str | None = None
    has_alpha: bool = False
    notes: tuple[str, ...] = ()


def plan_encoding(
    name: str,
    container: str,
    *,
    width: int,
    height: int,
    source: VideoInfo | None,
    has_alpha: bool,
    bit_depth: int,
    options: EncodeOptions,
) -> EncodePlan:
    """Decide codec, pixel format, colour and settings for one output.

    Raises:
        OptionError: The options contradict each other, the container or the size.
    """
    _check_choices(options)
    keep_alpha = has_alpha and options.alpha == "keep"
    codec = _SHORT.get(options.codec or "", options.codec) or _default_codec(
        container, bit_depth, keep_alpha, min(width, height)
    )
    _check_codec(name, container, codec)
    _check_size(codec, width, height)
    notes: list[str] = []
    pixel_format = options.pixel_format or _default_format(codec, container, bit_depth, keep_alpha)
    if options.pixel_format is None:
        pixel_format = _even_or_444(codec, pixel_format, width, height, notes)
    _check_format(codec, pixel_format)
    if keep_alpha and not _holds_alpha(pixel_format):
        raise OptionError(
            f"{name}: {codec} as {pixel_format} cannot hold the transparency of the input; write .mov (ProRes 4444),"
            " .webm, .mkv or a PNG folder, or drop it with alpha=drop"
        )
    if has_alpha and not keep_alpha:
        notes.append("the transparency was dropped (shown on black), as asked")
    depth = _depth(pixel_format)
    if depth < min(bit_depth, 12):
        notes.append(f"{name}: {codec} as {pixel_format} keeps {depth} of the input's {bit_depth} bits per sample")
    color = _color_in(container, codec, output_color(source, pixel_format), width, height, name, notes)
    if codec == "prores_ks":  # has no word for full range
        color = replace(color, range=LIMITED)
    color = replace(color, chroma_location=location_in(container, codec, pixel_format, color.chroma_location))
    if (color.mastering is not None or color.content_light is not None) and not keeps_hdr10(codec):
        notes.append(f"{name}: {codec} keeps no HDR10 data (mastering display, light levels); hevc, av1 and h264 do")
    if color.mastering is not None and not color.mastering.is_whole and codec == "libsvtav1":
        notes.append(
            f"{name}: the input tells a part of the mastering display (HDR10), which av1 cannot; hevc and h264 do"
        )
    if source is not None and source.photo != PhotoData():
        notes += photo_notes(name, source, profile=False, metadata=False)
    if width > 4096 or height > 2304:
        notes.append(f"{width}x{height} is larger than most phones and browsers play; .mkv with hevc or av1 may help")
    return EncodePlan(
        codec=codec,
        pixel_format=pixel_format,
        color=color,
        settings=_settings(codec, pixel_format, width, height, color, keep_alpha, options),
        tag=_tag_of(codec, container),
        has_alpha=keep_alpha,
        notes=tuple(notes),
    )


def output_color(source: VideoInfo | None, pixel_format: str) -> ColorTags:
    """Carry the input's tags over; what it does not say becomes BT.709, limited range.

    RGB and gray inputs (images, GIF) become BT.709 limited as well, unless the output is RGB or gray, too. Gray outputs
    hold all codes, as all gray is read; what is gray already keeps its tag, so that each player shows it as before.
    """
    tags = source.color if source else ColorTags()
    is_rgb_out = av.VideoFormat(pixel_format).is_rgb or pixel_format.startswith("gbr")
    if is_rgb_out:
        keep = source is not None and tags.primaries != UNSPECIFIED
        return replace(tags, matrix=0, range=FULL) if keep else ColorTags(0, FULL, 1, tags.transfer)
    was_gray = source is not None and is_gray(source.pixel_format)
    if is_gray(pixel_format):
        tags = tags if was_gray else replace(tags, range=FULL)
    elif source is not None and (was_gray or is_rgb(source.pixel_format)):
        tags = replace(tags, matrix=UNSPECIFIED, range=LIMITED)
    return replace(
        tags,
        matrix=tags.matrix if tags.matrix in (1, 4, 5, 6, 7, 9) else 1,
        range=FULL if tags.range == FULL else LIMITED,
        primaries=tags.primaries if tags.primaries not in (0, UNSPECIFIED) else 1,
        transfer=tags.transfer if tags.transfer not in (0, UNSPECIFIED) else 1,
    )


def _color_in(
    container: str, codec: str, color: ColorTags, width: int, height: int, name: str, notes: list[str]
) -> ColorTags:
    """Give the colours that a file can tell: in AVI those alone that players take for granted."""
    if codec == "mpeg2video":
        color = replace(color, range=LIMITED)
    if container != "avi":
        return color
    if color.is_hdr or color.primaries == 9:
        notes.append(f"{name}: {codec} in AVI tells no colours: HDR and wide colours look pale; write .mkv or .mp4")
    return resolve_tags(ColorTags(), "yuv420p", width, height)


def _tag_of(codec: str, container: str) -> str | None:
    if codec in ("libx265", "hevc_nvenc") and container in ("mp4", "mov"):
        return "hvc1"
    return "XVID" if codec == "mpeg4" and container == "avi" else None  # known to more players than FFmpeg's own


def probe_encoder(codec: str) -> str | None:
    """Try an encoder on a few small frames.

    Args:
        codec: FFmpeg's encoder name, e.g. ``h264_nvenc``.

    Returns:
        None when it works here, else why not, in a few words.
    """
    try:
        with captured_log() as log:
            context: Any = av.CodecContext.create(codec, "w")
            formats = [f.name for f in context.codec.video_formats or []]
            context.width, context.height = 256, 256
            context.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
            context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
            packets = 0
            for pts in range(3):
                frame = av.VideoFrame(256, 256, context.pix_fmt)
                frame.pts = pts
                packets += len(context.encode(frame))
            packets += len(context.encode(None))
    except (av.error.FFmpegError, ValueError, RuntimeError) as error:
        return log[-1] if log else reason(error) or type(error).__name__
    return None if packets else "it gave no output"


def quiet_encoders() -> None:
    """Keep SVT-AV1, which writes to the terminal on its own, from doing so."""
    os.environ.setdefault("SVT_LOG", "1")


def _check_choices(options: EncodeOptions) -> None:
    for option, choices in (("alpha", ("keep", "drop")), ("missing_streams", ("note", "convert", "error"))):
        if getattr(options, option) not in choices:
            raise OptionError(f"{option} must be one of {', '.join(choices)}, got {getattr(options, option)!r}")


def _is_hardware(codec: str) -> bool:
    return codec.endswith(_HARDWARE)


def _check_codec(name: str, container: str, codec: str) -> None:
    if _is_hardware(codec) and container != "avi":
        problem = probe_encoder(codec)
        if problem:
            raise OptionError(f"{codec} does not work on this machine ({problem}); use libx264 or libx265")
        return
    allowed = _CODECS_OF[container]
    if codec not in allowed:
        known = {c for codecs in _CODECS_OF.values() for c in codecs}
        why = f"{name} cannot hold {codec}" if codec in known else f"{codec} is no encoder known here"
        raise OptionError(f"{why}; choose one of {', '.join(allowed)}")
    try:
        av.Codec(codec, "w")
    except ValueError:
        raise OptionError(f"this FFmpeg has no {codec}; choose another of {', '.join(allowed)}") from None


def _check_size(codec: str, width: int, height: int) -> None:
    least = _MIN_SIDE.get(codec, 1)
    if min(width, height) < least:
        raise OptionError(f"{codec} needs {least} pixels a side, the output is {width}x{height}; use libx264 or ffv1")
    side = _MAX_SIDE.get(codec)
    if side is not None and max(width, height) > side:
        raise OptionError(f"{codec} stops at {side} pixels a side, the output is {width}x{height}; write a PNG folder")


def _check_format(codec: str, pixel_format: str) -> None:
    known = [f.name for f in av.Codec(codec, "w").video_formats or []]
    if known and pixel_format not in known:
        raise OptionError(f"{codec} does not take {pixel_format}; choose one of {', '.join(known)}")


def _default_codec(container: str, bit_depth: int, alpha: bool, side: int) -> str:
    if alpha:
        return {"mov": "prores_ks", "matroska": "ffv1", "webm": "libvpx-vp9", "avi": "ffv1"}.get(container, "libx264")
    if container == "avi":
        return "mpeg4"
    if container == "webm":
        return "libvpx-vp9" if bit_depth <= 8 else "libsvtav1"
    if container == "mov" and 8 < bit_depth <= 10:
        return "prores_ks"
    return "libx264" if bit_depth <= 8 or side < _MIN_SIDE["libx265"] else "libx265"


def _default_format(codec: str, container: str, bit_depth: int, alpha: bool) -> str:
    depth = 8 if bit_depth <= 8 else 10 if bit_depth <= 10 else 12
    suffix = "" if depth == 8 else f"{depth}le"
    if codec == "prores_ks":
        return "yuva444p10le" if alpha else "yuv422p10le"
    if codec == "ffv1":
        lossless = "" if bit_depth <= 8 else f"{bit_depth if bit_depth in (10, 12) else 16}le"
        return f"yuva444p{lossless}" if alpha else f"yuv444p{lossless}"
    if codec == "libvpx-vp9":
        return "yuva420p" if alpha else "yuv420p"
    if codec == "libsvtav1":
        return "yuv420p" if depth == 8 else "yuv420p10le"
    if _is_hardware(codec):
        known = [f.name for f in av.Codec(codec, "w").video_formats or []]
        wanted = ("yuv420p", "nv12") if depth == 8 else ("p010le", "yuv420p10le")
        return next((w for w in wanted if w in known), wanted[0])
    if codec in _QUANTIZER:
        return "yuv420p"
    return f"yuv420p{suffix}" if codec != "libx264" or depth <= 10 else "yuv420p10le"


def _even_or_444(codec: str, pixel_format: str, width: int, height: int, notes: list[str]) -> str:
    if width % 2 == 0 and height % 2 == 0:
        return pixel_format
    if codec in ("libx264", "libx265"):
        notes.append(
            f"{width}x{height} is odd: written as 4:4:4, which keeps the exact size but plays in fewer players"
        )
        return pixel_format.replace("420", "444")
    if codec == "libsvtav1" or _is_hardware(codec):
        raise OptionError(f"{codec} needs even sizes, the output is {width}x{height}; use libx264 or libvpx-vp9")
    return pixel_format


def _holds_alpha(pixel_format: str) -> bool:
    return any(part.is_alpha for part in av.VideoFormat(pixel_format).components)


def _depth(pixel_format: str) -> int:
    return max(part.bits for part in av.VideoFormat(pixel_format).components)


def _settings(
    codec: str, pixel_format: str, width: int, height: int, color: ColorTags, alpha: bool, options: EncodeOptions
) -> dict[str, str]:
    settings: dict[str, str] = {}
    crf = options.crf if options.crf is not None else _DEFAULT_CRF.get(codec)
    top = _CRF_TOP.get(codec)
    if options.crf is not None:
        if top is None and not _is_hardware(codec):
            raise OptionError(f"{codec} has no crf; leave it out")
        least = 1 if codec in _QUANTIZER else 0
        if not least <= options.crf <= (top or 51):
            raise OptionError(f"crf of {codec} goes from {least} to {top or 51}, got {options.crf}")
    if codec in _QUANTIZER and crf is not None:
        settings |= {"flags": "+qscale", "global_quality": str(_LAMBDA * crf)}
    elif crf is not None:
        settings["cq" if codec.endswith("_nvenc") else "global_quality" if _is_hardware(codec) else "crf"] = str(crf)
    preset = options.preset or _DEFAULT_PRESET.get(codec)
    if options.preset and codec in ("prores_ks", "ffv1", *_QUANTIZER):
        raise OptionError(f"{codec} has no preset; leave it out")
    if preset:
        settings["cpu-used" if codec == "libvpx-vp9" else "preset"] = preset
    settings |= special_settings(codec, pixel_format, width * height, color, alpha, options.threads)
    if color.chroma_location != CENTER:
        settings["chroma_sample_location"] = color.chroma_location
    return settings | dict(options.extra)
