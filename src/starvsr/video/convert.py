"""YUV frames of FFmpeg to RGB arrays and back, by the tagged matrix and range.

8-bit limited-range frames of BT.601 and BT.709, the bulk of all video, go through swscale, whose result
is within half a code there. Above 8 bits, and for full range, swscale shifts where it should scale (white
of 10 bits becomes 65472 of 65535) and loses half a code of chroma; such frames are converted here in
float32, with swscale only resampling the chroma planes, where it was measured to be unbiased.

Gray formats are full range whatever their tag says, as in FFmpeg, whose conversion to gray writes all codes and
leaves the tag of the colour video as it was. Formats of floating-point samples are converted here, 0..1 to all codes.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from starvsr.errors import UnreadableInputError
from starvsr.video.chroma import CENTER
from starvsr.video.color_matrix import WEIGHTS, luma_to_unit, unit_to_codes, yuv_to_unit
from starvsr.video.float_samples import from_floats
from starvsr.video.info import FULL, LIMITED, UNSPECIFIED, ColorTags
from starvsr.video.pixel_formats import base_name, is_float, is_gray, is_rgb
from starvsr.video.pixels import to_8_bits
from starvsr.video.planes import plane_of, rows

# swscale's flags by number (PyAV names them only since 18):
# bicubic, full chroma out and in, accurate rounding, bitexact
_FLAGS = 0x4 | 0x2000 | 0x4000 | 0x40000 | 0x80000
_SWS = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_local = threading.local()
_SHARED_PX, _SCALER_THREADS = 1 << 20, 4
_BAND = 128  # rows converted at once: temporaries stay in the cache

Frame = NDArray[np.uint8] | NDArray[np.uint16]


def resolve_tags(tags: ColorTags, pixel_format: str, width: int, height: int) -> ColorTags:
    """Fill in what the file does not say, the way players do.

    Untagged matrix: BT.601 below 720 rows and 1280 columns, BT.709 above. Untagged range: full for
    yuvj and RGB formats, else limited. Gray is always full.

    Raises:
        UnreadableInputError: The matrix is one that cannot be converted linearly (YCgCo, ICtCp).
    """
    name = base_name(pixel_format)
    is_rgb_in = is_rgb(name)
    matrix = tags.matrix
    if not is_rgb_in and matrix in (0, 3, UNSPECIFIED):
        matrix = 1 if width >= 1280 or height >= 720 else 5
    if not is_rgb_in and matrix not in WEIGHTS:
        raise UnreadableInputError(
            f"the colour matrix {tags.describe()} is not supported; convert the input to BT.709 or BT.2020 first"
        )
    full = tags.range == FULL or name.startswith("yuvj") or is_gray(name) or (is_rgb_in and tags.range != LIMITED)
    return replace(tags, matrix=0 if is_rgb_in else matrix, range=FULL if full else LIMITED)


def to_rgb(frame: av.VideoFrame, tags: ColorTags, *, alpha: bool) -> Frame:
    """Convert a decoded frame to full-range RGB.

    Args:
        frame: Any pixel format FFmpeg knows.
        tags: Resolved colour tags (see ``resolve_tags``).
        alpha: Whether to return the alpha channel too.

    Returns:
        [H, W, 3] or [H, W, 4], uint8 up to 8 bits, else uint16 over 0..65535.
    """
    name = frame.format.name
    if is_float(name):
        return from_floats(frame, alpha)
    bits = max(part.bits for part in frame.format.components)
    if _is_exact_in_swscale(name, bits, tags):
        target = ("rgba" if alpha else "rgb24") if bits <= 8 else ("rgba64le" if alpha else "rgb48le")
        return _as_array(_reformat(frame, target, tags, FULL))
    return _from_planes(frame, bits, tags, alpha)


def from_rgb(pixels: Frame, pixel_format: str, tags: ColorTags) -> av.VideoFrame:
    """Convert a full-range RGB array to a frame that an encoder takes.

    Args:
        pixels: [H, W, 3 or 4] uint8 or uint16 (0..65535).
        pixel_format: The format that the encoder wants.
        tags: Matrix and range to use, all resolved.

    Returns:
        The frame with its colour fields set, without a timestamp.
    """
    fmt = av.VideoFormat(pixel_format)
    bits = max(part.bits for part in fmt.components)
    has_alpha = pixels.shape[2] == 4
    wide = pixels.dtype == np.uint16
    marked_range = tags.range
    if is_gray(pixel_format):
        tags = replace(tags, range=FULL)  # whatever it is marked as
    if is_rgb(pixel_format) and not pixel_format.startswith("gbr"):
        packed = pixels if wide == (bits > 8) else (_widen(pixels) if bits > 8 else to_8_bits(pixels))
        source = _from_array(packed)
        frame = source if source.format.name == pixel_format else _reformat(source, pixel_format, tags, FULL)
    elif not wide and bits <= 8 and _is_exact_in_swscale(pixel_format, bits, tags):
        source = _from_array(pixels)
        frame = _reformat(_marked(source, tags.chroma_location), pixel_format, tags, tags.range)
    else:
        frame = _to_planes(pixels, fmt, bits, tags, has_alpha)
    frame.color_range = marked_range
    frame.colorspace = tags.matrix
    if hasattr(frame, "color_primaries"):  # before PyAV 17 only the encoder can be told
        frame.color_primaries = tags.primaries
        frame.color_trc = tags.transfer
    return frame


def _is_exact_in_swscale(name: str, bits: int, tags: ColorTags) -> bool:
    if is_rgb(name):
        return not (name.startswith("gbr") and bits > 8)
    in_swscale = tags.matrix in (1, 5, 6)  # PyAV 17 takes BT.2020 for another
    return bits <= 8 and in_swscale and tags.range == LIMITED and not name.startswith(("gray", "ya"))


def _reformat(frame: av.VideoFrame, name: str, tags: ColorTags, out_range: int) -> av.VideoFrame:
    """Let swscale convert; for RGB to YUV the tags are those of the YUV side."""
    to_yuv = is_rgb(frame.format.name)
    matrix = _SWS.get(tags.matrix, 1)
    result: av.VideoFrame = frame.reformat(
        format=name,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        interpolation=_FLAGS,
        src_color_range=FULL if to_yuv else tags.range,
        dst_color_range=out_range,
        threads=scaler_threads(frame),
    )
    return result


def scaler_threads(frame: av.VideoFrame) -> int:
    """Return how many threads convert a frame: they are begun anew for each, and change none of its bytes."""
    return _SCALER_THREADS if frame.width * frame.height >= _SHARED_PX else 1


def _resample(frame: av.VideoFrame, name: str, range_: int) -> av.VideoFrame:
    """Change chroma resolution or packing only: same depth, matrix and range on both sides."""
    if frame.format.name == name:
        return frame
    result: av.VideoFrame = frame.reformat(
        format=name,
        interpolation=_FLAGS,
        src_color_range=range_,
        dst_color_range=range_,
        threads=scaler_threads(frame),
    )
    return result


def _as_array(frame: av.VideoFrame) -> Frame:
    """Copy a packed RGB(A) frame of 8 or 16 bits into [H, W, C]."""
    wide = "48" in frame.format.name or "64" in frame.format.name
    channels = 4 if frame.format.name.startswith("rgba") else 3
    dtype = np.uint16 if wide else np.uint8
    samples = rows(frame.planes[0], dtype)[:, : frame.width * channels]
    return samples.reshape(frame.height, frame.width, channels).copy()


def _from_array(pixels: Frame) -> av.VideoFrame:
    wide = pixels.dtype == np.uint16
    channels = pixels.shape[2]
    name = ("rgba64le" if wide else "rgba") if channels == 4 else ("rgb48le" if wide else "rgb24")
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], name)
    samples = rows(frame.planes[0], pixels.dtype)
    samples[:, : pixels.shape[1] * channels] = pixels.reshape(pixels.shape[0], -1)
    frame.color_range = FULL
    return frame


def flatten(pixels: Frame) -> Frame:
    """Lay [H, W, 4] over black: [H, W, 3] of the same type, rounded."""
    top = int(np.iinfo(pixels.dtype).max)
    opacity = pixels[..., 3:].astype(np.uint64)
    flat: Any = ((pixels[..., :3] * opacity + top // 2) // top).astype(pixels.dtype)
    return flat


def _widen(pixels: Frame) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * np.uint16(257)


def _planar_name(bits: int, alpha: bool) -> str:
    """Name the 4:4:4 planar format of a depth (9 and 14 bits have no alpha twin, so 10 and 16 stand in)."""
    depth = "" if bits <= 8 else f"{bits}le"
    return f"yuv{'a' if alpha else ''}444p{depth}"


def _from_planes(frame: av.VideoFrame, bits: int, tags: ColorTags, alpha: bool) -> Frame:
    dtype: Any = np.uint8 if bits <= 8 else np.uint16
    name = frame.format.name
    if name.startswith("gbr"):
        depth = "" if bits <= 8 else f"{bits}le"
        planar = _resample(frame, f"gbr{'a' if alpha else ''}p{depth}", FULL)
        green, blue, red, *rest = (plane_of(planar, i, dtype) for i in range(4 if alpha else 3))
        planes = [red, green, blue, *rest]
    elif name.startswith("gray"):
        planes = [plane_of(_resample(frame, f"gray{'' if bits <= 8 else f'{bits}le'}", tags.range), 0, dtype)]
    elif name.startswith("ya"):
        planes = _gray_alpha_planes(frame, bits)[: 2 if alpha else 1]
    else:
        planar = _resample(frame, _planar_name(bits, alpha), tags.range)
        planes = [plane_of(planar, i, dtype) for i in range(4 if alpha else 3)]
    return _mix_to_rgb(planes, name, bits, tags, alpha)


def _gray_alpha_planes(frame: av.VideoFrame, bits: int) -> list[NDArray[Any]]:
    big = frame.format.name.endswith("be")
    dtype: Any = np.dtype(np.uint8) if bits <= 8 else np.dtype(">u2" if big else "<u2")
    samples = rows(frame.planes[0], dtype)[:, : frame.width * 2]
    pairs = samples.reshape(frame.height, frame.width, 2)
    return [pairs[..., 0], pairs[..., 1]]


def _mix_to_rgb(planes: list[NDArray[Any]], name: str, bits: int, tags: ColorTags, alpha: bool) -> Any:
    height, width = planes[0].shape
    top = 255.0 if bits <= 8 else 65535.0
    code_top = float((1 << bits) - 1)
    out: Any = np.empty((height, width, 4 if alpha else 3), np.uint8 if bits <= 8 else np.uint16)
    for y in range(0, height, _BAND):
        band = [plane[y : y + _BAND].astype(np.float32) for plane in planes]
        if name.startswith("gbr"):
            rgb = [part * np.float32(1 / code_top) for part in band[:3]]
        elif name.startswith(("gray", "ya")):
            rgb = [luma_to_unit(band[0], bits, tags.range)] * 3
        else:
            rgb = yuv_to_unit(band, bits, tags)
        parts = [*rgb, band[-1] * np.float32(1 / code_top)] if alpha else rgb
        for channel, part in enumerate(parts):
            out[y : y + _BAND, :, channel] = np.rint(np.clip(part, 0, 1) * np.float32(top))
    return out


def _to_planes(pixels: Frame, fmt: Any, bits: int, tags: ColorTags, has_alpha: bool) -> av.VideoFrame:
    height, width = pixels.shape[:2]
    dtype: Any = np.uint8 if bits <= 8 else np.uint16
    wants_alpha = has_alpha and any(part.is_alpha for part in fmt.components)
    is_planar_rgb = fmt.name.startswith("gbr")
    if is_planar_rgb or fmt.name.startswith("gray"):
        work = av.VideoFrame(width, height, fmt.name)
    else:
        work = av.VideoFrame(width, height, _planar_name(bits, wants_alpha))
    targets = [plane_of(work, i, dtype) for i in range(len(work.planes))]
    for y in range(0, height, _BAND):
        band = pixels[y : y + _BAND].astype(np.float32) * np.float32(1 / np.iinfo(pixels.dtype).max)
        parts = unit_to_codes(band, fmt.name, bits, tags)
        if len(targets) == 4:
            opacity = band[..., 3] if has_alpha else np.ones_like(band[..., 0])
            parts.append(opacity * np.float32((1 << bits) - 1))
        for target, part in zip(targets, parts, strict=True):
            target[y : y + _BAND] = np.rint(np.clip(part, 0, (1 << bits) - 1))
    if is_planar_rgb or fmt.name == work.format.name:
        return work
    return _resample(_marked(work, tags.chroma_location), fmt.name, tags.range)


def _marked(frame: Any, location: str) -> Any:
    """Return a frame of the same samples from which swscale puts chroma at a location: PyAV cannot mark frames."""
    if location == CENTER:
        return frame
    graphs = _local.__dict__.setdefault("graphs", {})
    key = (frame.width, frame.height, frame.format.name, location)
    if key not in graphs:
        graphs.clear()
        graphs[key] = _marking(*key)
    frame.pts, frame.time_base = 0, Fraction(1)
    graphs[key].push(frame)
    found = graphs[key].pull()
    found.pts = None
    return found


def _marking(width: int, height: int, pixel_format: str, location: str) -> Any:
    graph: Any = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add("setparams", f"chroma_location={location}"), graph.add("buffersink"))
    graph.configure()
    return graph
