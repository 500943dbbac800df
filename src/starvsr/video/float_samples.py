"""Frames whose samples are floating-point numbers, 0..1."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from starvsr.video.pixel_formats import FLOATS, is_float
from starvsr.video.planes import plane_of, rows

_CHANNELS = {"gray": 1, "ya": 2, "rgb": 3, "rgba": 4}


def has_nan(frame: av.VideoFrame) -> bool:
    """Whether a frame of floating-point samples holds some that are no numbers; ``to_rgb`` makes them black."""
    return is_float(frame.format.name) and any(bool(np.isnan(plane).any()) for plane in _float_planes(frame))


def _float_planes(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """Return red, green, blue and, if there is one, alpha as they are stored, [H, W] each."""
    family, bits, order = FLOATS.fullmatch(frame.format.name).groups()  # type: ignore[union-attr]
    dtype: Any = np.dtype(f"{'<' if order == 'le' else '>'}f{int(bits) // 8}")
    if family.startswith("gbr"):
        green, blue, red, *rest = (plane_of(frame, index, dtype) for index in range(len(frame.planes)))
        return [red, green, blue, *rest]
    count = _CHANNELS[family]
    samples = rows(frame.planes[0], dtype)[:, : frame.width * count].reshape(frame.height, frame.width, count)
    planes = [samples[..., 0]] * 3 if count < 3 else [samples[..., index] for index in range(3)]
    return planes + ([samples[..., -1]] if count in (2, 4) else [])


def from_floats(frame: av.VideoFrame, alpha: bool) -> NDArray[np.uint16]:
    """Convert samples of 16 or 32 bits to RGB(A) over 0..65535, [H, W, 3 or 4]; what lies outside 0..1 is cut."""
    planes = _float_planes(frame)
    out: Any = np.empty((frame.height, frame.width, 4 if alpha else 3), np.uint16)
    for channel in range(out.shape[2]):
        values = np.nan_to_num(planes[channel].astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
        out[..., channel] = np.rint(np.clip(values, 0, 1) * np.float32(65535))
    return out
