"""RGB and codes of luma and colour difference, by matrix and range, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from starvsr.video.info import FULL, ColorTags

# Kr, Kb of ITU-T H.273, table 4
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


def luma_to_unit(luma: NDArray[np.float32], bits: int, range_: int) -> NDArray[np.float32]:
    """Scale codes of luma to 0..1."""
    if range_ == FULL:
        return luma * np.float32(1 / ((1 << bits) - 1))
    step = 1 << (bits - 8)
    return (luma - np.float32(16 * step)) * np.float32(1 / (219 * step))


def yuv_to_unit(planes: list[NDArray[np.float32]], bits: int, tags: ColorTags) -> list[NDArray[np.float32]]:
    """Return red, green and blue, 0..1 and beyond, of codes of luma and both colour differences."""
    kr, kb = WEIGHTS[tags.matrix]
    kg = 1 - kr - kb
    step = 1 << (bits - 8)
    chroma = 1 / ((1 << bits) - 1) if tags.range == FULL else 1 / (224 * step)
    luma = luma_to_unit(planes[0], bits, tags.range)
    blue_diff = (planes[1] - np.float32(128 * step)) * np.float32(chroma * 2 * (1 - kb))
    red_diff = (planes[2] - np.float32(128 * step)) * np.float32(chroma * 2 * (1 - kr))
    green = luma - np.float32(kr / kg) * red_diff - np.float32(kb / kg) * blue_diff
    return [luma + red_diff, green, luma + blue_diff]


def unit_to_codes(band: NDArray[np.float32], name: str, bits: int, tags: ColorTags) -> list[NDArray[Any]]:
    """Return the codes of each plane of a format for [H, W, 3 or 4] in 0..1, not rounded."""
    red, green, blue = band[..., 0], band[..., 1], band[..., 2]
    top = np.float32((1 << bits) - 1)
    if name.startswith("gbr"):
        return [green * top, blue * top, red * top]
    kr, kb = WEIGHTS[tags.matrix]
    step = 1 << (bits - 8)
    luma = np.float32(kr) * red + np.float32(1 - kr - kb) * green + np.float32(kb) * blue
    full = tags.range == FULL
    luma_codes = luma * top if full else luma * np.float32(219 * step) + np.float32(16 * step)
    if name.startswith("gray"):
        return [luma_codes]
    scale = float(top) if full else 224.0 * step
    middle = np.float32(128 * step)
    blue_codes = (blue - luma) * np.float32(scale / (2 * (1 - kb))) + middle
    red_codes = (red - luma) * np.float32(scale / (2 * (1 - kr))) + middle
    return [luma_codes, blue_codes, red_codes]
