"""The best and the worst frames of each method: which, and pictures of them beside their reference."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from starvsr.evaluation.record import Report
from starvsr.metrics.metric import ByteArray, MetricFacts

DETAIL_PX = 144
"""Side of the part that is shown with its pixels."""

_NUM_WORST, _NUM_BEST = 2, 1
_WHOLE_PX = 480
_QUALITY = 85
_APART = 24  # frames between two of one clip, which would look alike
_STEP = 16  # pixels between the places that are tried for the detail

_Place = tuple[str, str, int, float]
"""Data set, clip, frame, value."""


@dataclass
class ShownFrame:
    """A frame that the report shows.

    Attributes:
        method: Name of the method.
        clip: Name of the clip.
        data_set: Name of the data set.
        frame: Index in presentation order.
        reasons: Why, e.g. ``worst psnr_y_db: 21.3``.
        whole: JPEG of the whole frame, made smaller.
        details: (what it is, JPEG) of the same part of the result and of what it is compared with.
    """

    method: str
    clip: str
    data_set: str
    frame: int
    reasons: list[str] = field(default_factory=list)
    whole: bytes = b""
    details: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def is_bad(self) -> bool:
        """Whether it is among the worst ones of a metric."""
        return any(reason.startswith("worst") for reason in self.reasons)

    def draw(self, hq: ByteArray, other: ByteArray | None, other_name: str) -> None:
        """Make the pictures: the detail is where both differ most, else the one with most structure."""
        top, left = _telling_place(hq, other)
        part = np.s_[top : top + DETAIL_PX, left : left + DETAIL_PX]
        self.whole = _jpeg(smaller(hq))
        self.details = [("result", _jpeg(hq[part]))]
        if other is not None:
            self.details.append((other_name, _jpeg(other[part])))


def choose_frames(report: Report) -> list[ShownFrame]:
    """Choose for each method and metric the two worst frames and the best one; each frame once, with all reasons."""
    chosen: dict[tuple[str, str, str, int], ShownFrame] = {}
    for method in report.methods():
        for metric in report.metrics:
            ranked = _ranked(report, method, metric)
            worst = _apart(ranked, _NUM_WORST)
            best = [one for one in _apart(ranked[::-1], _NUM_BEST) if one not in worst]
            for word, frames in (("worst", worst), ("best", best)):
                for data_set, clip, index, value in frames:
                    key = (method, data_set, clip, index)
                    shown = chosen.setdefault(key, ShownFrame(method, clip, data_set, index))
                    shown.reasons.append(f"{word} {metric.name}: {metric.text(value)}")
    return sorted(chosen.values(), key=lambda shown: (not shown.is_bad, -len(shown.reasons)))


def _apart(ranked: Sequence[_Place], count: int) -> list[_Place]:
    """Return the first ones that are not near each other in one clip."""
    kept: list[_Place] = []
    for one in ranked:
        if len(kept) == count:
            break
        if all(one[:2] != other[:2] or abs(one[2] - other[2]) >= _APART for other in kept):
            kept.append(one)
    return kept


def _ranked(report: Report, method: str, metric: MetricFacts) -> list[_Place]:
    """Return (data set, clip, frame, value), the worst first; nothing for values of whole clips or all alike."""
    frames = [
        (score.data_set, score.clip, index, value)
        for score in report.of(method)
        for index, value in enumerate(score.frames.get(metric.name, []))
        if not math.isnan(value)
    ]
    if len({value for *_, value in frames}) < 2:
        return []
    return sorted(frames, key=lambda frame: -metric.loss(frame[3]))


def _telling_place(hq: ByteArray, other: ByteArray | None) -> tuple[int, int]:
    """Return the upper left corner of the part that is shown pixel by pixel."""
    height, width = hq.shape[:2]
    if other is not None:
        weight = ((hq.astype(np.float32) - other) ** 2).mean(2)
    else:
        luma = hq.mean(2, dtype=np.float32)
        weight = np.zeros_like(luma)
        weight[1:] += np.abs(np.diff(luma, axis=0))
        weight[:, 1:] += np.abs(np.diff(luma, axis=1))
    sums = np.pad(weight.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = (_places(side) for side in (height, width))
    best = max((_inside(sums, row, column), -row, -column) for row in rows for column in columns)
    return -best[1], -best[2]


def _places(side: int) -> Iterable[int]:
    return range(0, max(side - DETAIL_PX, 0) + 1, _STEP)


def _inside(sums: np.ndarray, row: int, column: int) -> float:
    bottom, right = (min(start + DETAIL_PX, size - 1) for start, size in zip((row, column), sums.shape, strict=True))
    return float(sums[bottom, right] - sums[row, right] - sums[bottom, column] + sums[row, column])


def smaller(frame: ByteArray) -> ByteArray:
    """Return a frame with its longer side brought to 480 px, if it is larger."""
    factor = min(1.0, _WHOLE_PX / max(frame.shape[:2]))
    size = (max(1, round(frame.shape[1] * factor)), max(1, round(frame.shape[0] * factor)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def _jpeg(pixels: ByteArray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=_QUALITY, subsampling=0)
    return out.getvalue()
