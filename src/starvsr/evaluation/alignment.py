"""Global shift between a result and its reference, in space to 0.1 px and in time by whole frames.

Scores of pairs that are shifted are wrong by decibels, and nothing in a table shows it. The shift in space is the peak
of the correlation over low frequencies, which every upscaler keeps, whitened half way to the phase correlation of
Kuglin and Hines (1975), and refined by a Fourier transform sampled finely around the peak (Guizar-Sicairos et al.
2008). Correlations are added up over blocks and frames; leaving out one block at a time (the jackknife, Tukey 1958)
tells how sure the peak is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from starvsr.metrics.metric import ByteArray

Luma = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex128]

LARGEST_SIDE = 768
"""Side of the central window that is looked at."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BAND = 0.25  # cycles per pixel; above, results are invented
_SIGMA = 0.05  # of the Gaussian weight of frequencies, cycles per pixel
_LEAST_CONTRAST = 1.0  # levels of 255, standard deviation
_REDUCE = 4
_LEAST_SIDE = 32  # pixels that a shift is measured on
_MARGIN = 8  # pixels cut off after a frame has been shifted
_FINE_STEP = 0.05  # pixels
_MOST_BLOCKS = 3  # along a side
_LEAST_BLOCK = 80  # pixels
_FEW_GROUPS = 4
_FREQUENCY_PARTS = 9
_STUDENT_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31)  # two-sided quantiles of 1 to 8 degrees of freedom


@dataclass(frozen=True)
class Shift:
    """Where a result lies against its reference, in pixels: x to the right, y downwards."""

    x: float
    y: float

    @property
    def size(self) -> float:
        """The larger of both components."""
        return max(abs(self.x), abs(self.y))


@dataclass(frozen=True)
class MeasuredShift(Shift):
    """A shift with its uncertainty: half of the 95 % interval of each component."""

    error_x: float
    error_y: float

    @property
    def error(self) -> float:
        """The larger of both."""
        return max(self.error_x, self.error_y)

    def is_at_least(self, size: float) -> bool:
        """Whether a component is so large beyond its uncertainty."""
        return abs(self.x) - self.error_x >= size or abs(self.y) - self.error_y >= size


def central_luma(frame: ByteArray) -> Luma:
    """Return full-range BT.601 luma of the central window of a frame, float32 [h, w] with sides up to 768."""
    height, width = frame.shape[:2]
    rows, columns = min(height, LARGEST_SIDE), min(width, LARGEST_SIDE)
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.asarray(frame[top : top + rows, left : left + columns] @ _LUMA, np.float32)


def has_contrast(luma: Luma) -> bool:
    """Whether a picture shows anything that a shift could be told by."""
    return bool(luma.std() > _LEAST_CONTRAST) and min(luma.shape) >= 4 * _REDUCE


def measure_shift(pairs: Sequence[tuple[Luma, Luma]]) -> MeasuredShift:
    """Measure the one shift of a result against its reference, and how sure it is.

    Args:
        pairs: luma of frames of the result and of the reference's of the same number, all [H, W], with contrast.

    Returns:
        The shift; a picture that was moved by one pixel to the right has x = 1.
    """
    coarse = _peak(np.asarray(sum(_correlation(hq, gt) for hq, gt in pairs)))
    x, y = round(coarse.x), round(coarse.y)
    height, width = pairs[0][0].shape
    if min(height - abs(y), width - abs(x)) < _LEAST_SIDE:
        x = y = 0
    groups = _groups([_seen_by_both(hq, gt, x, y) for hq, gt in pairs])
    total = np.asarray(sum(groups))
    fine = _peak(total)
    without = [_peak(total - group) for group in groups]
    error_x, error_y = (_half_width(values) for values in zip(*((one.x, one.y) for one in without), strict=True))
    return MeasuredShift(x + fine.x, y + fine.y, error_x, error_y)


def unexplained(hq: Luma, gt: Luma) -> float:
    """Return the share of a result's coarse structure that its reference does not explain, 0..1.

    1 - r^2 with the correlation r of luma averaged over squares of 4 px: brightness, contrast and fine detail do not
    matter, a shift does.
    """
    return 1.0 - correlation(hq, gt) ** 2


def correlation(hq: Luma, gt: Luma) -> float:
    """Correlate luma averaged over squares of 4 px: -1..1, 0 where one of both is flat."""
    a, b = _reduced(hq), _reduced(gt)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 else 0.0


def contrast_ratio(hq: Luma, gt: Luma) -> float:
    """Return the slope of the regression of a result on its reference, luma averaged over squares of 4 px."""
    a, b = _reduced(hq), _reduced(gt)
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float((b * b).sum()), 1e-6))


def unexplained_after(hq: Luma, gt: Luma, shift: Shift) -> float:
    """Return what is left unexplained when the reference has been moved by a shift (bilinear); 1 for tiny frames."""
    found = before_and_after(hq, gt, shift)
    return 1.0 if found is None else found[1]


def before_and_after(hq: Luma, gt: Luma, shift: Shift) -> tuple[float, float] | None:
    """Return what is unexplained of the inner part before and after the reference has been moved by a shift.

    Args:
        hq: luma of the result, [H, W].
        gt: of the reference, same shape.
        shift: of the result; the reference is moved bilinearly.

    Returns:
        Two shares in 0..1; None where frames are too small to be moved so far.
    """
    margin = _MARGIN + int(np.ceil(shift.size))
    if 2 * margin + 4 * _REDUCE > min(gt.shape):
        return None
    inner = np.s_[margin:-margin, margin:-margin]
    return unexplained(hq[inner], gt[inner]), unexplained(hq[inner], _moved(gt, shift, margin))


def _moved(gt: Luma, shift: Shift, margin: int) -> Luma:
    """Return the inner part of a picture that was moved by a shift."""
    height, width = (side - 2 * margin for side in gt.shape)
    row, column = (int(np.floor(margin - part)) for part in (shift.y, shift.x))
    fy, fx = margin - shift.y - row, margin - shift.x - column
    part = gt[row : row + height + 1, column : column + width + 1]
    rows = part[:-1] * (1 - fy) + part[1:] * fy
    return np.asarray(rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx, np.float32)


def _seen_by_both(hq: Luma, gt: Luma, x: int, y: int) -> tuple[Luma, Luma]:
    """Cut two pictures to what both show: windows that do not see the same draw the peak towards zero."""
    height, width = hq.shape
    rows, columns = height - abs(y), width - abs(x)
    return hq[max(y, 0) :, max(x, 0) :][:rows, :columns], gt[max(-y, 0) :, max(-x, 0) :][:rows, :columns]


def _groups(pairs: Sequence[tuple[Luma, Luma]]) -> list[Spectrum]:
    """Return independent parts of the correlation: blocks of the picture; frames or frequencies where it is small."""
    rows, columns = pairs[0][0].shape
    down, across = (max(1, min(_MOST_BLOCKS, side // _LEAST_BLOCK)) for side in (rows, columns))
    height, width = rows // down, columns // across
    places = [(i * height, j * width) for i in range(down) for j in range(across)]
    blocks = [np.s_[top : top + height, left : left + width] for top, left in places]
    found = [[_correlation(hq[block], gt[block]) for hq, gt in pairs] for block in blocks]
    if len(blocks) >= _FEW_GROUPS:
        return [np.asarray(sum(frames)) for frames in found]
    singles = [one for frames in found for one in frames]
    return singles if len(singles) >= _FEW_GROUPS else _by_frequency(np.asarray(sum(singles)))


def _by_frequency(correlation: Spectrum) -> list[Spectrum]:
    """Split a correlation into parts with every ninth frequency, in a pattern."""
    rows, columns = np.indices(correlation.shape)
    part = (rows + 3 * columns) % _FREQUENCY_PARTS
    return [np.where(part == k, correlation, 0) for k in range(_FREQUENCY_PARTS)]


def _half_width(without: Sequence[float]) -> float:
    """Return half of the 95 % interval of an estimate, from its values with one group left out at a time."""
    count = len(without)
    error = np.sqrt((count - 1) * np.var(without))
    return float(error) * _STUDENT_95[min(count - 1, len(_STUDENT_95)) - 1]


def _correlation(hq: Luma, gt: Luma) -> Spectrum:
    """Return the half-whitened cross spectrum over low frequencies."""
    height, width = hq.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    cross = _spectrum(hq, window) * np.conj(_spectrum(gt, window))
    fy, fx = _frequencies(hq.shape)
    distance = fy[:, None] ** 2 + fx[None] ** 2
    phase = cross / np.sqrt(np.maximum(np.abs(cross), 1e-9)) * np.exp(-distance / (2 * _SIGMA**2))
    phase[distance > _BAND**2] = 0
    return np.asarray(phase)


def _frequencies(shape: tuple[int, ...]) -> list[npt.NDArray[np.float64]]:
    return [np.asarray(np.fft.fftfreq(side), np.float64) for side in shape]


def _peak(phase: Spectrum) -> Shift:
    """Return where a correlation is largest, to a fraction of a pixel."""
    height, width = phase.shape
    surface = np.fft.ifft2(phase).real
    row, column = np.unravel_index(int(np.argmax(surface)), surface.shape)
    y = int(row) - (height if row > height // 2 else 0)
    x = int(column) - (width if column > width // 2 else 0)
    fy, fx = _frequencies(phase.shape)
    return _refined(phase, fy, fx, x, y)


def _spectrum(luma: Luma, window: npt.NDArray[np.float64]) -> Spectrum:
    mean = float((luma * window).sum() / window.sum())
    return np.asarray(np.fft.fft2((luma - mean) * window))


def _refined(
    phase: Spectrum,
    fy: npt.NDArray[np.float64],
    fx: npt.NDArray[np.float64],
    x: int,
    y: int,
) -> Shift:
    """Find the peak beside (x, y) to a fraction of a pixel."""
    rows, columns = np.abs(fy) <= _BAND, np.abs(fx) <= _BAND
    steps = np.arange(-1, 1 + _FINE_STEP / 2, _FINE_STEP)
    left = np.exp(2j * np.pi * np.outer(y + steps, fy[rows]))
    right = np.exp(2j * np.pi * np.outer(fx[columns], x + steps))
    fine = (left @ phase[np.ix_(rows, columns)] @ right).real
    i, j = (int(k) for k in np.unravel_index(int(np.argmax(fine)), fine.shape))
    return Shift(x + float(steps[j]) + _vertex(fine[i], j), y + float(steps[i]) + _vertex(fine[:, j], i))


def _vertex(values: npt.NDArray[np.float64], at: int) -> float:
    """Return where the parabola through a peak and its neighbours has its top, beside the peak, in pixels."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, peak, after = (float(value) for value in values[at - 1 : at + 2])
    bend = before - 2 * peak + after
    return 0.0 if bend == 0 else _FINE_STEP * 0.5 * (before - after) / bend


def _reduced(luma: Luma) -> npt.NDArray[np.float64]:
    height, width = (side // _REDUCE for side in luma.shape)
    squares = luma[: height * _REDUCE, : width * _REDUCE].reshape(height, _REDUCE, width, _REDUCE)
    return np.asarray(squares.mean((1, 3), dtype=np.float64))
