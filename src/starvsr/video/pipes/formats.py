"""What frames in a pipe are made of: pixel format, colours, rate, shape of pixels.

Neither y4m nor NUT tells the YUV matrix, and NUT not the range either. Players guess: BT.709 from 1280 columns or 720
rows on, else BT.601, as `starvsr.video.convert.resolve_tags` does; limited range in NUT. So frames are converted to
what will be guessed, whatever the input says. BT.2020 is kept, since HDR cannot be shown otherwise, and a note says
what to tell the reader. Chroma stays where the input has it, which y4m tells of 8-bit 4:2:0 alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import av

from starvsr.errors import OptionError
from starvsr.video.chroma import CENTER, is_subsampled
from starvsr.video.convert import resolve_tags
from starvsr.video.info import FULL, LIMITED, ColorTags, VideoInfo
from starvsr.video.pipes.descriptor import STANDARD_OUTPUT
from starvsr.video.pixel_formats import is_gray, is_rgb

Y4M, NUT = "y4m", "nut"
_SUBSAMPLINGS = {"yuv420p": "420", "yuv422p": "422", "yuv444p": "444", "gray": "mono"}
_DEPTHS = (8, 10, 12, 16)
_BT2020 = (9, 10)
_Y4M_LOCATIONS = {CENTER: "420jpeg", "left": "420mpeg2", "topleft": "420paldv"}


def _named(base: str, depth: int) -> str:
    return base if depth == 8 else f"{base}{depth}le"


Y4M_FORMATS = {
    _named(base, depth): word + ("" if depth == 8 else f"{'' if base == 'gray' else 'p'}{depth}")
    for base, word in _SUBSAMPLINGS.items()
    for depth in _DEPTHS
}
"""Pixel formats that y4m holds, and its word for each (8-bit 4:2:0 has three, by where chroma lies)."""
NUT_FORMATS = (*Y4M_FORMATS, "rgb24", "rgb48le", "rgba", "rgba64le")


@dataclass(frozen=True)
class PipeFormat:
    """What frames in a pipe are made of.

    Attributes:
        container: ``y4m`` or ``nut``.
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        pixel_format: FFmpeg's name.
        color: Resolved tags that frames are converted with.
        frame_rate: Nominal rate in frames per second.
        time_base: Seconds per tick of the frames' times.
        aspect: Width of a displayed pixel by its height.
        notes: What the user should know.
    """

    container: str
    width: int
    height: int
    pixel_format: str
    color: ColorTags
    frame_rate: Fraction
    time_base: Fraction
    aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        """Whether frames are written with transparency."""
        return self.pixel_format.startswith("rgba")

    def describe(self) -> str:
        """Describe it in words."""
        return f"{self.container}, {self.pixel_format}, {self.color.describe()}"


def plan_pipe(
    info: VideoInfo, container: str, width: int, height: int, *, pixel_format: str | None, drop_alpha: bool
) -> PipeFormat:
    """Decide what is written.

    Args:
        info: The input.
        container: ``y4m`` or ``nut``.
        width: Width of the output in pixels.
        height: Height of the output in pixels.
        pixel_format: What the user asked for; None is what is nearest to the input's.
        drop_alpha: Whether transparency is shown on black.

    Raises:
        OptionError: The container cannot hold that.
    """
    notes: list[str] = []
    keeps_alpha = info.has_alpha and not drop_alpha
    if keeps_alpha and container == Y4M:
        raise OptionError("y4m holds no transparency: give --alpha drop to show it on black, or --pipe-format nut")
    chosen = _checked(container, pixel_format) if pixel_format else _nearest(info, container, keeps_alpha)
    if keeps_alpha and not chosen.startswith("rgba"):
        raise OptionError(f"{chosen} holds no transparency: give --pixel-format rgba, or --alpha drop")
    if pixel_format is None and is_subsampled(chosen) and (width % 2 or height % 2):
        notes.append(f"{width}x{height} is odd: written as 4:4:4")
        chosen = chosen.replace("420", "444").replace("422", "444")
    if info.sample_aspect_ratio != 1 and container == NUT:
        notes.append(f"the shape of pixels, {info.sample_aspect_ratio}, is not told by NUT here; y4m tells it")
    return PipeFormat(
        container=container,
        width=width,
        height=height,
        pixel_format=chosen,
        color=_color(info, container, chosen, width, height, notes),
        frame_rate=info.frame_rate.limit_denominator(100_000),
        time_base=info.time_base,
        aspect=info.sample_aspect_ratio,
        notes=tuple(notes),
    )


def _checked(container: str, pixel_format: str) -> str:
    known = tuple(Y4M_FORMATS) if container == Y4M else NUT_FORMATS
    name = pixel_format if pixel_format in known else f"{pixel_format}le"
    if name not in known:
        raise OptionError(f"{container} is not written as {pixel_format}; choose one of {', '.join(known)}")
    return name


def _nearest(info: VideoInfo, container: str, keeps_alpha: bool) -> str:
    depth = next(depth for depth in _DEPTHS if depth >= info.bit_depth)
    if keeps_alpha:
        return "rgba" if depth == 8 else "rgba64le"
    if is_rgb(info.pixel_format):
        if container == NUT:
            return "rgb24" if depth == 8 else "rgb48le"
        return _named("yuv444p", depth)
    form = av.VideoFormat(info.pixel_format)
    is_luma = len(form.components) - info.has_alpha == 1
    steps = (2, 2) if is_luma else (16 // form.chroma_width(16), 16 // form.chroma_height(16))
    return _named({(2, 2): "yuv420p", (2, 1): "yuv422p"}.get(steps, "yuv444p"), depth)


def _color(info: VideoInfo, container: str, pixel_format: str, width: int, height: int, notes: list[str]) -> ColorTags:
    if is_rgb(pixel_format):
        return replace(info.color, matrix=0, range=FULL, mastering=None, content_light=None)
    guess = resolve_tags(ColorTags(), pixel_format, width, height)
    matrix = info.color.matrix if info.color.matrix in _BT2020 else guess.matrix
    if matrix in _BT2020:
        notes.append(
            f"{STANDARD_OUTPUT}: BT.2020 ({info.color.describe()}), which {container} does not tell: tell it to the "
            "reader (ffmpeg: -colorspace bt2020nc -color_primaries bt2020 -color_trc ... before -i)"
        )
    was_full = resolve_tags(info.color, info.pixel_format, info.width, info.height).range == FULL
    is_full = is_gray(pixel_format) or (was_full and not is_rgb(info.pixel_format) and container == Y4M)
    keeps_location = is_subsampled(pixel_format) and info.color.chroma_location in _Y4M_LOCATIONS
    return ColorTags(
        matrix=matrix,
        range=FULL if is_full else LIMITED,
        chroma_location=info.color.chroma_location if keeps_location else CENTER,
    )


def y4m_header(form: PipeFormat) -> bytes:
    """Return the first line of a y4m stream, as the programs of MJPEG Tools and FFmpeg write it."""
    word = Y4M_FORMATS[form.pixel_format]
    kind = _Y4M_LOCATIONS[form.color.chroma_location] if form.pixel_format == "yuv420p" else word
    rate, aspect = form.frame_rate, form.aspect
    fields = [
        "YUV4MPEG2",
        f"W{form.width}",
        f"H{form.height}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{aspect.numerator}:{aspect.denominator}",
        f"C{kind}",
        *([] if form.pixel_format.startswith("gray") else [f"XYSCSS={kind.upper()}"]),
        f"XCOLORRANGE={'FULL' if form.color.is_full_range else 'LIMITED'}",
    ]
    return " ".join(fields).encode() + b"\n"
