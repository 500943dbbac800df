"""What FFmpeg's pixel formats hold, by their names."""

from __future__ import annotations

import re

import av

FLOATS = re.compile(r"(gbra?p|gray|ya|rgba?)f(16|32)(le|be)")
"""Formats of floating-point samples: family, bits and order of bytes."""


def base_name(pixel_format: str) -> str:
    """Return the name without the order of bytes."""
    return pixel_format.removesuffix("le").removesuffix("be")


def is_gray(pixel_format: str) -> bool:
    """Whether a format holds brightness alone, with or without transparency."""
    return pixel_format.startswith("gray") or re.match(r"ya(8|16|f)", pixel_format) is not None


def is_float(pixel_format: str) -> bool:
    """Whether the samples of a format are floating-point numbers."""
    return FLOATS.fullmatch(pixel_format) is not None


def is_rgb(name: str) -> bool:
    """Whether a format holds red, green and blue (or what swscale makes of a palette, XYZ or a sensor's mosaic)."""
    if FLOATS.fullmatch(f"{name}le"):
        return not is_gray(name)
    return av.VideoFormat(name).is_rgb or name.startswith(("gbr", "pal8", "mono", "bayer", "xyz", "x2"))
