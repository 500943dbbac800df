"""MS-SSIM: structural similarity over five scales.

Source: Wang, Simoncelli, Bovik 2003.
"""

from __future__ import annotations

import numpy as np

from starvsr.errors import OptionError
from starvsr.metrics.fidelity import FloatArray, smooth, to_luma
from starvsr.metrics.metric import ByteArray, Metric, per_frame

_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_C1, _C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
_TAPS = 11
LEAST_PX = _TAPS << (len(_WEIGHTS) - 1)
"""Smallest side: the window must fit at the coarsest scale."""


def ms_ssim(gt: ByteArray, hq: ByteArray, *, crop_px: int = 0) -> FloatArray:
    """Compute the multi-scale structural similarity of each frame.

    Full-range BT.601 luma rounded to 8 bits; at each of five scales the window of SSIM where it fits, contrast terms
    below zero set to zero as widely used code does; contrast of four scales and SSIM of the last one to the powers of
    the paper, multiplied. Scales are means of 2x2 pixels; an odd last row or column is left out.

    Args:
        gt: ground truth, uint8 [T, H, W, 3] RGB.
        hq: result, same shape.
        crop_px: pixels cut from each border first.

    Returns:
        float64 [T] in [0, 1]; 1 where the frames are equal.

    Raises:
        OptionError: shapes differ, are not [T, H, W, 3], or a side is below 176 px after the crop.
    """
    if gt.shape != hq.shape or gt.ndim != 4 or gt.shape[-1] != 3:
        raise OptionError(f"gt and hq must both be [T, H, W, 3], got {gt.shape} and {hq.shape}: resize one first")
    height, width = (side - 2 * crop_px for side in gt.shape[1:3])
    if min(height, width) < LEAST_PX:
        raise OptionError(
            f"MS-SSIM needs frames of at least {LEAST_PX}x{LEAST_PX} px, not {width}x{height}: use SSIM (ssim_y)"
        )
    inner = np.s_[crop_px : crop_px + height, crop_px : crop_px + width]
    return np.array([_frame(a[inner], b[inner]) for a, b in zip(gt, hq, strict=True)], np.float64)


def _frame(gt: ByteArray, hq: ByteArray) -> float:
    a, b = (to_luma(frame, studio=False).round()[..., None] for frame in (gt, hq))
    terms = []
    for _ in _WEIGHTS:
        whole, contrast = _similarity(a, b)
        terms.append(contrast)
        a, b = _half(a), _half(b)
    terms[-1] = whole
    return float(np.prod(np.array(terms) ** _WEIGHTS))


def _similarity(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Return the means of SSIM and of its contrast and structure term alone."""
    mean_a, mean_b = smooth(a), smooth(b)
    variances = smooth(a * a) - mean_a**2 + smooth(b * b) - mean_b**2
    contrast = (2 * (smooth(a * b) - mean_a * mean_b) + _C2) / (variances + _C2)
    contrast = np.maximum(contrast, 0)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return float((luminance * contrast).mean()), float(contrast.mean())


def _half(plane: FloatArray) -> FloatArray:
    height, width = (side // 2 for side in plane.shape[:2])
    return np.asarray(plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean((1, 3)))


MS_SSIM = Metric(
    name="ms_ssim_y",
    unit="",
    higher_is_better=True,
    needs=frozenset({"gt"}),
    protocol="BT.601 full-range luma rounded to 8 bits, five scales, contrast clamped at 0, interior only",
    compute=per_frame(lambda frame: float(ms_ssim(frame.gt[None], frame.hq[None])[0])),
    digits=4,
    of_single_frames=True,
)
