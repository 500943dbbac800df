"""Global shift between a result and its reference, in space to 0.1 px and in time by whole frames.

Scores of pairs that are shifted are wrong by decibels, and nothing in a table shows it. The shift in space is the peak
of the correlation over low frequencies, which every upscaler keeps, whitened half way to the phase correlation of
Kuglin and Hines (1975), and refined by a Fourier transform sampled finely around the peak (Guizar-Sicairos et al.
2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from starvsr.metrics.metric import ByteArray

Luma = npt.NDArray[np.float32]

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


@dataclass(frozen=True)
class Shift:
    """Where a result lies against its reference, in pixels: x to the right, y downwards."""

    x: float
    y: float

    @property
    def size(self) -> float:
        """The larger of both components."""
        return max(abs(self.x), abs(self.y))


def central_luma(frame: ByteArray) -> Luma:
    """Return full-range BT.601 luma of the central window of a frame, float32 [h, w] with sides up to 768."""
    height, width = frame.shape[:2]
    rows, columns = min(height, LARGEST_SIDE), min(width, LARGEST_SIDE)
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.asarray(frame[top : top + rows, left : left + columns] @ _LUMA, np.float32)


def has_contrast(luma: Luma) -> bool:
    """Whether a picture shows anything that a shift could be told by."""
    return bool(luma.std() > _LEAST_CONTRAST) and min(luma.shape) >= 4 * _REDUCE


def measure_shift(hq: Luma, gt: Luma) -> Shift:
    """Measure the shift of a result against its reference.

    Args:
        hq: luma of the result, [H, W].
        gt: of the reference, same shape; both with contrast.

    Returns:
        The shift; a picture that was moved by one pixel to the right has x = 1.
    """
    coarse = _estimate(hq, gt)
    x, y = round(coarse.x), round(coarse.y)
    height, width = hq.shape
    if (x, y) == (0, 0) or min(height - abs(y), width - abs(x)) < _LEAST_SIDE:
        return coarse
    # of what both show alone: windows that do not see the same draw the peak towards zero
    rows, columns = height - abs(y), width - abs(x)
    hq = hq[max(y, 0) :, max(x, 0) :][:rows, :columns]
    gt = gt[max(-y, 0) :, max(-x, 0) :][:rows, :columns]
    fine = _estimate(hq, gt)
    return Shift(x + fine.x, y + fine.y)


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
    """Return what is left unexplained when the reference has been moved by a shift (bilinear)."""
    margin = _MARGIN + int(np.ceil(shift.size))
    if 2 * margin + 4 * _REDUCE > min(gt.shape):
        return 1.0
    return unexplained(hq[margin:-margin, margin:-margin], _moved(gt, shift, margin))


def _moved(gt: Luma, shift: Shift, margin: int) -> Luma:
    """Return the inner part of a picture that was moved by a shift."""
    height, width = (side - 2 * margin for side in gt.shape)
    row, column = (int(np.floor(margin - part)) for part in (shift.y, shift.x))
    fy, fx = margin - shift.y - row, margin - shift.x - column
    part = gt[row : row + height + 1, column : column + width + 1]
    rows = part[:-1] * (1 - fy) + part[1:] * fy
    return np.asarray(rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx, np.float32)


def _estimate(hq: Luma, gt: Luma) -> Shift:
    height, width = hq.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    cross = _spectrum(hq, window) * np.conj(_spectrum(gt, window))
    fy, fx = (np.asarray(np.fft.fftfreq(side), np.float64) for side in (height, width))
    distance = fy[:, None] ** 2 + fx[None] ** 2
    phase = cross / np.sqrt(np.maximum(np.abs(cross), 1e-9)) * np.exp(-distance / (2 * _SIGMA**2))
    phase[distance > _BAND**2] = 0
    surface = np.fft.ifft2(phase).real
    row, column = np.unravel_index(int(np.argmax(surface)), surface.shape)
    y = int(row) - (height if row > height // 2 else 0)
    x = int(column) - (width if column > width // 2 else 0)
    return _refined(phase, fy, fx, x, y)


def _spectrum(luma: Luma, window: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    mean = float((luma * window).sum() / window.sum())
    return np.asarray(np.fft.fft2((luma - mean) * window))


def _refined(
    phase: npt.NDArray[np.complex128],
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
