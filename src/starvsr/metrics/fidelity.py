"""Frame fidelity against ground truth: PSNR and SSIM, in RGB or luma, from plain arrays.

The definitions that papers leave open are arguments here, because they move the numbers: the same pair of
frames gives 25.2 dB in RGB, 28.7 dB in full-range luma and 30.0 dB in BT.601 studio luma. This file knows
nothing of files or networks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, Metric, per_frame

Color = Literal["rgb", "y601", "yfull"]
FloatArray = npt.NDArray[np.float64]

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5
_SSIM_C1 = (0.01 * 255.0) ** 2
_SSIM_C2 = (0.03 * 255.0) ** 2


def psnr(gt: ByteArray, hq: ByteArray, *, color: Color = "y601", crop_px: int = 0) -> FloatArray:
    """Compute the peak signal-to-noise ratio of each frame.

    Args:
        gt: ground truth, uint8 [T, H, W, 3] RGB.
        hq: result, same shape.
        color: "y601" studio-range luma (the habit of super-resolution papers), "yfull" full-range luma,
            or "rgb".
        crop_px: pixels cut from each border first.

    Returns:
        float64 [T] in dB; infinite where the frames are equal. Average the dB values, not the errors.

    Raises:
        OptionError: shapes differ, are not [T, H, W, 3], or the crop leaves nothing.
    """
    _check_pair(gt, hq, crop_px)
    return np.array([_psnr_frame(a, b) for a, b in _planes(gt, hq, color, crop_px)])


def psnr_y(gt: ByteArray, hq: ByteArray, *, crop_px: int = 0) -> FloatArray:
    """Compute the PSNR of BT.601 studio-range luma of each frame, float64 [T] in dB. See `psnr`."""
    return psnr(gt, hq, color="y601", crop_px=crop_px)


def clip_psnr_y(gt: npt.NDArray[np.floating], hq: npt.NDArray[np.floating]) -> float:
    """Compute the PSNR of BT.601 studio-range luma over all frames at once, in dB.

    Training validates with it: the error is averaged before the logarithm is taken, and values are not rounded to
    8 bits.

    Args:
        gt: ground truth, RGB in [0, 255], [..., 3].
        hq: result, same shape; values outside of the range are clipped.

    Returns:
        dB; infinite where both are equal.
    """
    return _psnr_frame(to_luma(gt), to_luma(hq.clip(0, 255)))


def ssim(gt: ByteArray, hq: ByteArray, *, color: Color = "y601", crop_px: int = 0) -> FloatArray:
    """Compute the structural similarity of each frame.

    Gaussian window of 11 taps (sigma 1.5), population covariance, K1 0.01, K2 0.03, averaged over the
    interior where the whole window fits (as scikit-image with gaussian weights); RGB averages the channels.
    Source: Wang et al. 2004.

    Args:
        gt: ground truth, uint8 [T, H, W, 3] RGB.
        hq: result, same shape.
        color: as in `psnr`.
        crop_px: pixels cut from each border first.

    Returns:
        float64 [T]; 1 where the frames are equal, negative where contrast is inverted.

    Raises:
        OptionError: shapes differ, are not [T, H, W, 3], or less than 11 pixels are left after the crop.
    """
    _check_pair(gt, hq, crop_px, smallest=2 * _SSIM_RADIUS + 1)
    return np.array([_ssim_frame(a, b) for a, b in _planes(gt, hq, color, crop_px)])


def to_luma(rgb: npt.NDArray[np.generic], *, studio: bool = True) -> FloatArray:
    """Return BT.601 luma, float64 [...]: 16..235 if `studio`, else 0..255, of RGB values 0..255 [..., 3].

    Not rounded to 8 bits.
    """
    weights = np.array([65.481, 128.553, 24.966]) / 255.0 if studio else np.array([0.299, 0.587, 0.114])
    return rgb.astype(np.float64) @ weights + (16.0 if studio else 0.0)


def _check_pair(gt: ByteArray, hq: ByteArray, crop_px: int, smallest: int = 1) -> None:
    if gt.shape != hq.shape or gt.ndim != 4 or gt.shape[-1] != 3:
        raise OptionError(f"gt and hq must both be [T, H, W, 3], got {gt.shape} and {hq.shape}: resize one first")
    left = min(gt.shape[1], gt.shape[2]) - 2 * crop_px
    if crop_px < 0 or left < smallest:
        raise OptionError(
            f"crop_px={crop_px} leaves {left} px of {gt.shape[1]}x{gt.shape[2]} frames,"
            f" {smallest} px are needed: use a smaller crop"
        )


def _planes(gt: ByteArray, hq: ByteArray, color: Color, crop_px: int) -> list[tuple[FloatArray, FloatArray]]:
    """Return the pair as float64 [H, W, C] frames in the chosen colour."""
    height, width = gt.shape[1:3]
    inner = np.s_[crop_px : height - crop_px, crop_px : width - crop_px]
    return [(_in_color(a[inner], color), _in_color(b[inner], color)) for a, b in zip(gt, hq, strict=True)]


def _in_color(frame: ByteArray, color: Color) -> FloatArray:
    if color == "rgb":
        return frame.astype(np.float64)
    if color in ("y601", "yfull"):
        return to_luma(frame, studio=color == "y601")[..., None]
    raise OptionError(f"color={color!r} is unknown: use rgb, y601 or yfull")


def _psnr_frame(gt: FloatArray, hq: FloatArray) -> float:
    error = float(np.mean((gt - hq) ** 2))
    return float("inf") if error == 0 else 10.0 * float(np.log10(255.0**2 / error))


def _gaussian_taps() -> FloatArray:
    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    return taps / taps.sum()


def smooth(plane: FloatArray) -> FloatArray:
    """Filter float64 [H, W, C] with the Gaussian window of SSIM, only where it fits: [H-10, W-10, C]."""
    taps = _gaussian_taps()
    rows = plane.shape[0] - len(taps) + 1
    columns = plane.shape[1] - len(taps) + 1
    vertical = sum(tap * plane[i : i + rows] for i, tap in enumerate(taps))
    horizontal = sum(tap * vertical[:, i : i + columns] for i, tap in enumerate(taps))
    return np.asarray(horizontal)


def _ssim_frame(gt: FloatArray, hq: FloatArray) -> float:
    mean_gt, mean_hq = smooth(gt), smooth(hq)
    var_gt = smooth(gt * gt) - mean_gt**2
    var_hq = smooth(hq * hq) - mean_hq**2
    covariance = smooth(gt * hq) - mean_gt * mean_hq
    numerator = (2 * mean_gt * mean_hq + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    denominator = (mean_gt**2 + mean_hq**2 + _SSIM_C1) * (var_gt + var_hq + _SSIM_C2)
    return float(np.mean(numerator / denominator))


def _psnr_metric(name: str, color: Color, words: str) -> Metric:
    return Metric(
        name=name,
        unit="dB",
        higher_is_better=True,
        needs=frozenset({"gt"}),
        protocol=f"{words}, mean of dB over frames",
        compute=per_frame(lambda frame: float(psnr(frame.gt[None], frame.hq[None], color=color)[0])),
    )


def _ssim_metric(name: str, color: Color, words: str) -> Metric:
    return Metric(
        name=name,
        unit="",
        higher_is_better=True,
        needs=frozenset({"gt"}),
        protocol=f"{words}, Gaussian 11 taps sigma 1.5, interior only",
        compute=per_frame(lambda frame: float(ssim(frame.gt[None], frame.hq[None], color=color)[0])),
        digits=4,
        of_single_frames=True,
    )


PSNR_Y = _psnr_metric("psnr_y_db", "y601", "BT.601 studio luma")
PSNR_Y_FULL = _psnr_metric("psnr_yfull_db", "yfull", "BT.601 full-range luma")
PSNR_RGB = _psnr_metric("psnr_rgb_db", "rgb", "RGB, one error over the channels")
SSIM_Y = _ssim_metric("ssim_y", "y601", "BT.601 studio luma")
SSIM_RGB = _ssim_metric("ssim_rgb", "rgb", "RGB, mean of the channels")
