"""NIQE: how far a picture's local statistics are from those of undistorted photographs. Needs no ground truth.

Meant for photographs with natural distortions; sharpening and texture that a network invents can please it, so never
train on it nor trust it alone.

Source: Mittal, Soundararajan, Bovik 2013, "Making a completely blind image quality analyzer".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from starvsr.errors import OptionError, WeightsError
from starvsr.metrics.fidelity import to_luma
from starvsr.metrics.metric import ByteArray, FrameSet, Metric, per_frame
from starvsr.models.weights.metric_files import find_metric_file

FloatArray = npt.NDArray[np.float64]
Luma = Literal["y601", "yfull"]

BLOCK_PX = 96
_WINDOW_RADIUS, _WINDOW_SIGMA = 3, 7 / 6
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_SHAPES = np.arange(0.2, 10.001, 0.001)
_NUM_FEATURES = 36


@dataclass(frozen=True)
class Pristine:
    """Statistics of undistorted photographs.

    Args:
        mean: of the features, float64 [36].
        covariance: of them, float64 [36, 36].
    """

    mean: FloatArray
    covariance: FloatArray


def load_pristine(path: Path | None = None) -> Pristine:
    """Read the statistics that were published with NIQE.

    Args:
        path: a file "niqe_pris_params.npz"; None looks for it.

    Raises:
        MissingWeightsError: it is not on this machine.
        WeightsError: it is damaged.
    """
    path = path or find_metric_file("niqe-pristine", "NIQE")
    try:
        with np.load(path) as file:
            mean, covariance = (np.asarray(file[name], np.float64) for name in ("mu_pris_param", "cov_pris_param"))
        return Pristine(mean.reshape(_NUM_FEATURES), covariance.reshape(_NUM_FEATURES, _NUM_FEATURES))
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} does not hold the parameters of NIQE ({error}): get it again") from error


def niqe(
    frames: ByteArray, *, luma: Luma = "y601", crop_px: int = 0, pristine: Pristine | None = None
) -> npt.NDArray[np.float64]:
    """Compute NIQE of each frame.

    Blocks of 96x96 px from the upper left corner, without overlap, at full and half size; what is left at the right
    and the bottom does not count. Computed in float64.

    Args:
        frames: uint8 [T, H, W, 3] RGB.
        luma: "y601" BT.601 studio luma (BasicSR and MATLAB's rgb2ycbcr), or "yfull" full-range luma (the default of
            pyiqa); both rounded to 8 bits. They differ by up to 3 %.
        crop_px: pixels cut from each border first.
        pristine: statistics to compare with; None loads the published ones.

    Returns:
        float64 [T]; smaller is more natural, about 2 to 8 for photographs. NaN for a frame without any texture (black).

    Raises:
        OptionError: frames hold no block of 96x96 px after the crop.
        MissingWeightsError: as :func:`load_pristine`.
    """
    pristine = pristine or _published()
    inner = frames[:, crop_px : frames.shape[1] - crop_px, crop_px : frames.shape[2] - crop_px]
    return np.array([_frame(frame, luma, pristine) for frame in inner], np.float64)


def _frame(frame: ByteArray, luma: Luma, pristine: Pristine) -> float:
    rows, columns = (side // BLOCK_PX for side in frame.shape[:2])
    if not rows or not columns:
        raise OptionError(
            f"NIQE needs frames of at least {BLOCK_PX}x{BLOCK_PX} px after the crop, "
            f"not {frame.shape[1]}x{frame.shape[0]}"
        )
    plane = _rounded_luma(frame[: rows * BLOCK_PX, : columns * BLOCK_PX], luma)
    features = np.concatenate(
        [structure_features(split_blocks(_normalized(one), rows, columns)) for one in (plane, half_size(plane))], axis=1
    )
    if np.isnan(features).all(axis=0).any():
        return math.nan
    difference = pristine.mean - np.nanmean(features, axis=0)
    known = features[~np.isnan(features).any(axis=1)]
    covariance = np.cov(known, rowvar=False) if len(known) > 1 else np.zeros_like(pristine.covariance)
    return math.sqrt(difference @ np.linalg.pinv((pristine.covariance + covariance) / 2) @ difference)


def _rounded_luma(frame: ByteArray, luma: Luma) -> FloatArray:
    """Return luma rounded to 8 bits.

    One pixel in a thousand lies between two levels of full-range luma, and NIQE moves by 0.1 % with the way these are
    rounded: computed in float32, as widely used code does.
    """
    if luma == "y601":
        return np.asarray(to_luma(frame).round())
    red, green, blue = (frame[..., index].astype(np.float32) / np.float32(255) for index in range(3))
    full = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    return np.asarray((full * np.float32(255)).round().astype(np.float64))


def _normalized(plane: FloatArray) -> FloatArray:
    """Subtract the local mean and divide by the local standard deviation plus 1."""
    mean = _blur(plane)
    return np.asarray((plane - mean) / (np.sqrt(np.abs(_blur(plane * plane) - mean * mean)) + 1))


def _blur(plane: FloatArray) -> FloatArray:
    offsets = np.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / _WINDOW_SIGMA) ** 2)
    return _filtered(plane, taps / taps.sum(), _WINDOW_RADIUS, "edge", 1)


def half_size(plane: FloatArray) -> FloatArray:
    """Halve both sides, even ones, as MATLAB's imresize does with the bicubic kernel and its antialiasing."""
    distances = np.abs(np.arange(-3.5, 4)) / 2
    taps = np.where(
        distances <= 1,
        1.5 * distances**3 - 2.5 * distances**2 + 1,
        -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2,
    )
    return _filtered(plane, taps / taps.sum(), 3, "symmetric", 2)


def _filtered(
    plane: FloatArray, taps: FloatArray, before: int, border: Literal["edge", "symmetric"], step: int
) -> FloatArray:
    """Filter rows and columns by taps, of which as many lie before the pixel, and keep each `step`-th one."""
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (before, len(taps) - 1 - before)
        padded = np.moveaxis(np.pad(plane, padding, mode=border), axis, 0)
        length = plane.shape[axis]
        plane = np.moveaxis(sum(tap * padded[i : i + length : step] for i, tap in enumerate(taps)), 0, axis)
    return plane


def split_blocks(plane: FloatArray, rows: int, columns: int) -> FloatArray:
    """Cut a plane [H, W] into rows * columns blocks [N, h, w]."""
    height, width = (side // count for side, count in zip(plane.shape, (rows, columns), strict=True))
    return plane.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(-1, height, width)


def structure_features(blocks: FloatArray) -> FloatArray:
    """Return the 18 features of each block [N, h, w] of normalised luma: fits to it and to products of neighbours."""
    shape, left, right = fit_aggd(blocks)
    found = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = fit_aggd(blocks * np.roll(blocks, shift, axis=(1, 2)))
        found += [shape, (right - left) * np.exp(_log_gamma(2 / shape) - _log_gamma(1 / shape)), left, right]
    return np.stack(found, axis=1)


def fit_aggd(blocks: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fit an asymmetric generalized Gaussian to the values of each block [N, h, w] by their moments.

    Returns:
        Shape, and the scales of the left and the right side, each [N]; NaN where one side has no value.
    """
    values = blocks.reshape(len(blocks), -1)
    squares = values**2
    left, right = (_side(squares, chosen) for chosen in (values < 0, values > 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = left / right
        spread = np.abs(values).mean(1) ** 2 / squares.mean(1)
        wanted = spread * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    table = _moments()
    shape = np.array([_SHAPES[np.argmin((table - one) ** 2)] if np.isfinite(one) else np.nan for one in wanted])
    factor = np.exp((_log_gamma(1 / shape) - _log_gamma(3 / shape)) / 2)
    return shape, left * factor, right * factor


def _side(squares: FloatArray, chosen: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the root of the mean square of the chosen values of each row; NaN without any."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt((squares * chosen).sum(1) / chosen.sum(1)))


@lru_cache(maxsize=1)
def _moments() -> FloatArray:
    """Return the ratio of moments for each shape in the table."""
    return np.asarray(np.exp(2 * _log_gamma(2 / _SHAPES) - _log_gamma(1 / _SHAPES) - _log_gamma(3 / _SHAPES)))


def _log_gamma(values: FloatArray) -> FloatArray:
    return np.asarray(torch.lgamma(torch.from_numpy(np.asarray(values, np.float64))).numpy())


@lru_cache(maxsize=1)
def _published() -> Pristine:
    return load_pristine()


def _require() -> None:
    find_metric_file("niqe-pristine", "NIQE")


def _metric(name: str, luma: Luma, words: str) -> Metric:
    compute: Callable[[FrameSet], float] = lambda frame: float(niqe(frame.hq[None], luma=luma)[0])  # noqa: E731
    return Metric(
        name=name,
        unit="",
        higher_is_better=False,
        needs=frozenset(),
        protocol=f"{words} rounded to 8 bits, 96x96 px blocks, two scales",
        compute=per_frame(compute),
        weights="pristine statistics niqe_pris_params.npz 2a7c182a",
        requires=_require,
        of_single_frames=True,
    )


NIQE = _metric("niqe", "y601", "BT.601 studio luma")
NIQE_FULL = _metric("niqe_yfull", "yfull", "BT.601 full-range luma")
