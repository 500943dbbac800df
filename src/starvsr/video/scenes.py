"""Find scene cuts while frames stream by, one decision per frame, in constant memory.

A cut shows as a jump of both the structure (correlation of a small luma image, at its best shift of up to
two cells) and the colour histogram, well above what the last frames did. A pan keeps its histogram. A flash
keeps its structure, which correlation sees in spite of the light; and as each frame is compared with the last
two, the picture that comes back after a white frame is no cut. The white frame itself counts as one: only the
frames after it tell a flash from a cut to white.

Where a video is cut decides what is computed together, so it must not depend on the processor: everything that is
summed is a whole number, and the few numbers behind that are made by single additions, multiplications, divisions and
square roots, which IEEE 754 rounds in one way only.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 24, 32
_BINS = 8
_TOP = 65535
_LUMA_WEIGHTS = (299, 587, 114)  # thousandths, as BT.601 has them
_SOFTENED = 4**3
"""What blurring along three axes multiplies a histogram by."""
_FLAT = 0.01
"""Standard deviation, of full scale, below which a picture counts as flat."""


@dataclass(frozen=True)
class _Sketch:
    """What is kept of a frame: luma int64 [24, 32] in 0..65535, and a softened histogram int64 over 8 x 8 x 8 colours.

    The histogram sums to 64 times `count`.
    """

    luma: NDArray[np.int64]
    histogram: NDArray[np.int64]
    count: int


class SceneDetector:
    """Say for each frame whether it starts a new scene.

    Args:
        threshold: Score from which a change counts as a cut; scores are in 0..1, 0.30 suits most material.
        ratio: How many times the recent typical score a cut must reach.
        memory: Frames that the typical score is taken over.
        min_length: Frames that must lie between two cuts.
    """

    def __init__(self, *, threshold: float = 0.30, ratio: float = 3.0, memory: int = 12, min_length: int = 3) -> None:
        self._threshold = threshold
        self._ratio = ratio
        self._scores: deque[float] = deque(maxlen=memory)
        self._past: deque[_Sketch] = deque(maxlen=2)
        self._min_length = min_length
        self._since_cut = 0
        self.last_score = 0.0

    def reset(self) -> None:
        """Forget all frames, as at the start of another video."""
        self._scores.clear()
        self._past.clear()
        self._since_cut = 0
        self.last_score = 0.0

    def is_cut(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
        """Look at the next frame.

        Args:
            pixels: [H, W, 3 or 4] full-range RGB, uint8 or uint16.

        Returns:
            Whether this frame is the first of a new scene; always False for the very first frame.
        """
        score, typical = self._look(pixels)
        if score is None:
            return False
        is_cut = score >= max(self._threshold, self._ratio * typical) and self._since_cut >= min(
            self._min_length, 1 + len(self._scores)
        )
        self._learn(score, is_cut)
        return is_cut

    def replay(self, pixels: NDArray[np.uint8] | NDArray[np.uint16], is_cut: bool) -> None:
        """Look at a frame whose answer is known from an earlier run.

        After ``warm_up`` such frames the detector answers as if it had seen all frames before them.
        """
        score, _ = self._look(pixels)
        if score is not None:
            self._learn(score, is_cut)

    @property
    def warm_up(self) -> int:
        """Frames after which it no longer matters what was before them."""
        # the scores that are remembered, and the two frames that the first of them is measured against
        return max((self._scores.maxlen or 0) + 2, self._min_length)

    def _look(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> tuple[float | None, float]:
        """Measure how much a frame changes (None for the very first), and what is typical."""
        sketch = _sketch(pixels)
        if not self._past:
            self._past.append(sketch)
            return None, 0.0
        # against both of the last two frames: after a one-frame flash the picture is back at the one before it
        score = min(_distance(sketch, before) for before in self._past)
        typical = statistics.median(self._scores) if self._scores else 0.0
        self._since_cut += 1
        self.last_score = score
        self._past.append(sketch)
        return score, typical

    def _learn(self, score: float, is_cut: bool) -> None:
        if is_cut:
            self._scores.clear()
            self._since_cut = 0
        else:
            self._scores.append(score)


def _sketch(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> _Sketch:
    """Shrink a frame by averaging a sample of its pixels in each cell."""
    height, width = pixels.shape[:2]
    step = max(1, min(height // (_ROWS * 4), width // (_COLUMNS * 4)))
    sample = pixels[::step, ::step, :3].astype(np.int64) * (_TOP // int(np.iinfo(pixels.dtype).max))
    red, green, blue = (sample[..., channel] for channel in range(3))
    luma = _LUMA_WEIGHTS[0] * red + _LUMA_WEIGHTS[1] * green + _LUMA_WEIGHTS[2] * blue
    codes = np.minimum(sample * _BINS // _TOP, _BINS - 1)
    flat = (codes[..., 0] * _BINS + codes[..., 1]) * _BINS + codes[..., 2]
    histogram = np.bincount(flat.ravel(), minlength=_BINS**3).astype(np.int64)
    return _Sketch(_shrink(luma), _soften(histogram), flat.size)


def _shrink(luma: NDArray[np.int64]) -> NDArray[np.int64]:
    """Average [H, W] in thousandths into [24, 32] whole cells (repeating pixels where there are fewer)."""
    rows = np.arange(_ROWS + 1) * luma.shape[0] // _ROWS
    columns = np.arange(_COLUMNS + 1) * luma.shape[1] // _COLUMNS
    rows[:-1] = np.minimum(rows[:-1], luma.shape[0] - 1)
    columns[:-1] = np.minimum(columns[:-1], luma.shape[1] - 1)
    sums = np.add.reduceat(np.add.reduceat(luma, rows[:-1], axis=0), columns[:-1], axis=1)
    heights = np.maximum(np.diff(rows), 1)[:, None]
    widths = np.maximum(np.diff(columns), 1)[None, :]
    return np.asarray(sums // (1000 * heights * widths), np.int64)


def _distance(one: _Sketch, other: _Sketch) -> float:
    """Give the score of a change in 0..1: geometric mean of structure change and colour change."""
    structure = _structure_change(one.luma, other.luma)
    moved = int(np.abs(one.histogram * other.count - other.histogram * one.count).sum())
    colors = moved / (2 * _SOFTENED * one.count * other.count)
    return math.sqrt(structure * max(colors, 0.25 * structure))


def _soften(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Blur a colour histogram over neighbouring bins, so that a slight change of light is a slight change.

    Each axis gives half to the bin itself and a quarter to each neighbour, times 4.
    """
    cube = histogram.reshape(_BINS, _BINS, _BINS)
    for axis in range(3):
        ahead = np.concatenate([np.take(cube, range(1, _BINS), axis), np.take(cube, [-1], axis)], axis)
        behind = np.concatenate([np.take(cube, [0], axis), np.take(cube, range(_BINS - 1), axis)], axis)
        cube = 2 * cube + ahead + behind
    return cube.ravel()


def _structure_change(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Give 1 - correlation of the two small pictures at the best shift of up to two cells, in 0..1.

    Correlation ignores brightness and contrast (flashes, fades); nearly flat pictures are compared by
    their mean difference instead, as their correlation is noise.
    """
    margin = 2
    core = one[margin:-margin, margin:-margin]
    best = 1.0
    for dy in range(-margin, margin + 1):
        for dx in range(-margin, margin + 1):
            rows = slice(margin + dy, _ROWS - margin + dy)
            columns = slice(margin + dx, _COLUMNS - margin + dx)
            best = min(best, _uncorrelated(core, other[rows, columns]))
    return best


def _uncorrelated(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    count, sum_one, sum_other = one.size, int(one.sum()), int(other.sum())
    scale = count * _TOP

    def product(a: NDArray[np.int64], b: NDArray[np.int64], sums: int) -> int:
        """Covariance times count squared: at most 2e15, exact in int64 and in float64."""
        return count * int((a * b).sum()) - sums

    spread_one = math.sqrt(product(one, one, sum_one * sum_one)) / scale
    spread_other = math.sqrt(product(other, other, sum_other * sum_other)) / scale
    if spread_one < _FLAT and spread_other < _FLAT:
        return min(1.0, 2 * int(np.abs(one - other).sum()) / scale)
    together = product(one, other, sum_one * sum_other) / (scale * scale)
    return min(1.0, max(0.0, 1 - together / (max(spread_one, _FLAT) * max(spread_other, _FLAT))))
