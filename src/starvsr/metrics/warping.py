"""Frames warped by optical flow: bilinear, coordinates clamped to the border, whole numbers of pixels exact.

OpenCV's ``remap`` takes less time than torch's ``grid_sample``. Before version 5 it rounded coordinates to 1/32 px:
which one is installed is told by what it makes of a small picture, so that values depend on neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from starvsr.errors import OptionError
from starvsr.models.flow.dis import opencv

FloatArray = npt.NDArray[np.float32]
Picture = npt.NDArray[np.generic]

STRIP_PIXELS = 40960
"""What is worked on at once. What lies between two steps then stays in the processor's cache, and planes are so small
that the C library keeps their memory: to get it anew for each would take longer than the work."""

_OPENCV_MOST_PX = 32767
"""Sides from which on OpenCV refuses to warp."""


def strips(height: int, width: int) -> list[slice]:
    """Cut the rows of a frame into strips."""
    rows = max(8, STRIP_PIXELS // width)
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def warp(frame: npt.NDArray[np.floating], flow: FloatArray) -> FloatArray:
    """Return `frame` [H, W, C] at x + flow(x), bilinear, coordinates clamped to the border: float32."""
    found = [np.stack(read_moved([frame], planes_of(flow[rows]), rows), axis=2) for rows in strips(*frame.shape[:2])]
    return np.concatenate(found)


def planes_of(picture: Picture) -> list[FloatArray]:
    """Return the channels of a picture [H, W, C], each float32 [H, W]."""
    return [np.array(picture[..., channel], np.float32, order="C") for channel in range(picture.shape[2])]


def read_moved(pictures: Sequence[Picture], flow: Sequence[FloatArray], rows: slice) -> list[FloatArray]:
    """Read pictures at x + flow(x) in some rows; only what is reached of them is converted.

    Args:
        pictures: of one height and width, each [H, W, C].
        flow: its two components in these rows, [h, W] in pixels.
        rows: of the frame.

    Returns:
        Their channels one after the other, each float32 [h, W].
    """
    height, width = pictures[0].shape[:2]
    across = np.arange(width, dtype=np.float32)
    down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    x, y = _clamped(flow[0] + across, width), _clamped(flow[1] + down, height)
    first, last = int(y.min()), int(y.max()) + 1
    y -= first  # exact
    planes = [plane for picture in pictures for plane in planes_of(picture[first : last + 1])]
    fits = max(width, len(planes[0]), *x.shape) < _OPENCV_MOST_PX
    return _by_opencv(planes, x, y) if fits and _opencv_is_exact() else _by_torch(planes, x, y)


def _clamped(place: FloatArray, side: int) -> FloatArray:
    np.maximum(place, 0, out=place)
    return np.minimum(place, side - 1, out=place)


def _by_opencv(planes: Sequence[FloatArray], x: FloatArray, y: FloatArray) -> list[FloatArray]:
    """Return planes [H, W] at places within them. OpenCV is fastest with four at a time: three get one more."""
    cv2 = opencv()
    found: list[FloatArray] = []
    for start in range(0, len(planes), 4):
        part = planes[start : start + 4]
        groups = [cv2.merge([*part, *part[-1:]][:4])] if len(part) > 2 else part
        for group in groups:
            found += cv2.split(cv2.remap(group, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return found[: len(planes)]


def _by_torch(planes: Sequence[FloatArray], x: FloatArray, y: FloatArray) -> list[FloatArray]:
    """Return planes [H, W] at places within them.

    ``grid_sample`` scales coordinates by half of the sides minus 1. The planes are therefore viewed as parts of larger
    ones with sides of 2^k + 1, where that factor is a power of two, so that whole numbers of pixels are read exactly;
    what lies outside is never read, as coordinates are within.
    """
    height, width = planes[0].shape
    exponents = [max(1, (side - 1).bit_length()) for side in (width, height)]
    columns, rows = (2**exponent + 1 for exponent in exponents)
    pixels, size = height * width, rows * width + columns
    memory = torch.empty((len(planes), size))
    memory[:, pixels : pixels + width + 1] = 0  # read with the weight 0 at the lower and the right border
    for into, values in zip(memory.numpy(), planes, strict=True):
        into[:pixels] = values.ravel()
    parts = memory.as_strided((1, len(planes), rows, columns), (size * len(planes), size, width, 1))
    grid = np.stack([place * 2.0 ** (1 - e) - 1 for place, e in zip((x, y), exponents, strict=True)], axis=2)
    where = torch.from_numpy(grid.astype(np.float32, copy=False))[None]
    return list(F.grid_sample(parts, where, mode="bilinear", padding_mode="border", align_corners=True)[0].numpy())


@lru_cache(maxsize=1)
def _opencv_is_exact() -> bool:
    """Return whether the installed OpenCV reads between pixels where it is told to, on a small picture."""
    down, across = np.mgrid[:24, :40].astype(np.float32)
    planes = [np.sin(across * (0.1 + 0.05 * channel) + down * 0.15).astype(np.float32) for channel in range(5)]
    x = _clamped(across + np.cos(down * 0.3 + across * 0.7) * 2.3, 40)
    y = _clamped(down + np.sin(down * 0.9 - across * 0.2) * 1.7, 24)
    try:
        found = _by_opencv(planes, x, y)
    except OptionError:  # not installed: flow may come from elsewhere
        return False
    return all(np.abs(a - b).max() < 1e-5 for a, b in zip(found, _by_torch(planes, x, y), strict=True))
