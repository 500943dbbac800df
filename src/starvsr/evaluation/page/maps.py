"""Maps of cells over a picture: how much was added where, and which kinds of regions there are."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from starvsr.metrics.metric import ByteArray

KIND_COLORS: dict[str, tuple[int, int, int]] = {
    "flat": (120, 130, 140),
    "soft": (60, 120, 230),
    "text-like": (230, 60, 160),
    "drawn": (240, 190, 40),
    "textured": (60, 170, 90),
}
_HEAT = ((20, 20, 60), (150, 30, 110), (250, 120, 30), (255, 240, 150))
_WIDTH = 480
_PICTURE_SHARE = 0.45


def added_map(cells: Sequence[Sequence[float]], picture: ByteArray | None) -> str:
    """Draw the RMS of what was added in each cell, from 0 to the largest one, over a picture; a data address."""
    values = np.asarray(cells, np.float64)
    return _over(_heat(values / max(values.max(), 1e-9)), picture)


def kinds_map(maps: Mapping[str, Sequence[Sequence[float]]], picture: ByteArray | None) -> str:
    """Draw the most frequent kind of each cell over a picture; a data address."""
    names = list(maps)
    most = np.argmax([np.asarray(maps[name]) for name in names], axis=0)
    colors = np.array([KIND_COLORS[name] for name in names], np.float64)
    return _over(colors[most], picture)


def _heat(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(shares, stops, [color[k] for color in _HEAT]) for k in range(3)], axis=-1)


def _over(colors: npt.NDArray[np.float64], picture: ByteArray | None) -> str:
    rows, columns = colors.shape[:2]
    size = (picture.shape[1], picture.shape[0]) if picture is not None else (_WIDTH, max(1, _WIDTH * rows // columns))
    drawn = Image.fromarray(colors.round().astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    if picture is not None:
        gray = Image.fromarray(picture).convert("L").convert("RGB")
        drawn = Image.blend(drawn, gray, _PICTURE_SHARE)
    out = io.BytesIO()
    drawn.save(out, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
