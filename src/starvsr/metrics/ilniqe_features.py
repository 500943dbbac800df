"""The statistics that ILNIQE compares: fits to normalised luma, colours, gradients and responses of log-Gabor filters.

Source: Zhang, Zhang, Bovik 2015, "A Feature-Enriched Completely Blind Image Quality Evaluator"; constants as in the
authors' release. Everything is float64.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from starvsr.metrics.niqe import fit_aggd, split_blocks, structure_features

FloatArray = npt.NDArray[np.float64]

FEATURES_PER_SCALE = 234
_OPPONENT = np.array([[0.3, 0.04, -0.35], [0.34, -0.6, 0.17], [0.06, 0.63, 0.27]])
_WINDOW_TAPS, _WINDOW_SIGMA = 5, 5 / 6
_GRADIENT_SIGMA, _GRADIENT_FALL = 1.66, 0.28
_LEAST_LIGHT, _LEAST_SQUARE = 1e-5, 1e-8
_SCALES, _ORIENTATIONS = 3, 4
_WAVELENGTH, _WAVELENGTH_FALL, _WAVELENGTH_GROWTH = 2.4, 0.87, 1.31
_BANDWIDTH, _ANGLE_RATIO = 0.55, 1.10
_HALVING_TAPS, _HALVING_SIGMA = 6, 0.9
_NEWTON_STEPS, _NEWTON_CHANGE = 50, 1e-9


def opponent_colors(picture: FloatArray) -> FloatArray:
    """Return three opponent colours [3, H, W] of RGB [3, H, W] in 0 to 255; the last one is close to luma."""
    return np.einsum("oc,chw->ohw", _OPPONENT, picture)


def scale_features(picture: FloatArray, opponent: FloatArray, scale: int, rows: int, columns: int) -> FloatArray:
    """Compute the features of all blocks at one scale.

    Args:
        picture: RGB [3, H, W] in 0 to 255.
        opponent: its opponent colours, [3, H, W].
        scale: 1, or 2 for the halved picture: filters get shorter with it.
        rows: of blocks.
        columns: of blocks.

    Returns:
        [rows * columns, 234]; NaN or infinite where a statistic has no value.
    """

    def blocks(planes: FloatArray) -> FloatArray:
        """Cut planes [C, H, W] into blocks [number of blocks, C, h, w]."""
        return np.stack([split_blocks(plane, rows, columns) for plane in planes], axis=1)

    sigma = _GRADIENT_SIGMA / scale**_GRADIENT_FALL
    light = opponent[2]
    along_x, along_y = _gradients(opponent, sigma)
    responses = _log_gabor_responses(light, scale)
    parts_x, parts_y = _gradients(responses, sigma)
    partials = np.stack([parts_x, parts_y], axis=1).reshape(-1, *light.shape)
    colors = blocks(_log_colors(picture))
    return np.concatenate(
        [
            structure_features(split_blocks(_normalized(light), rows, columns)),
            _weibull(blocks(_magnitude(along_x, along_y))),
            np.stack([colors.mean((2, 3)), colors.var((2, 3), ddof=1)], axis=2).reshape(len(colors), -1),
            _general_gaussian(blocks(np.stack([along_x, along_y], axis=1).reshape(-1, *light.shape))),
            _general_gaussian(blocks(responses)),
            _general_gaussian(blocks(partials)),
            _weibull(blocks(_magnitude(parts_x, parts_y))),
        ],
        axis=1,
    )


def halved(planes: FloatArray) -> FloatArray:
    """Blur planes [C, H, W] by a Gaussian of 6 taps, sigma 0.9, and keep every second row and column."""
    taps = _gaussian(_HALVING_TAPS, _HALVING_SIGMA)
    return np.asarray(_separable(planes, taps, taps, "edge")[:, ::2, ::2])


def _normalized(plane: FloatArray) -> FloatArray:
    """Subtract the local mean and divide by the local standard deviation plus 1."""
    taps = _gaussian(_WINDOW_TAPS, _WINDOW_SIGMA)
    mean, square = _separable(np.stack([plane, plane**2]), taps, taps, "edge")
    return np.asarray((plane - mean) / (np.sqrt(np.abs(square - mean**2)) + 1))


def _log_colors(picture: FloatArray) -> FloatArray:
    """Return intensity and two opponent axes of the logarithm of RGB, whose means over the picture are 0."""
    logs = np.log(picture + _LEAST_LIGHT)
    red, green, blue = logs - logs.mean((1, 2), keepdims=True)
    intensity, yellow = (red + green + blue) / math.sqrt(3), (red + green - 2 * blue) / math.sqrt(6)
    return np.stack([intensity, yellow, (red - green) / math.sqrt(2)])


def _gradients(planes: FloatArray, sigma: float) -> tuple[FloatArray, FloatArray]:
    """Convolve with the derivatives of a Gaussian along x and y; outside of the picture is 0."""
    radius = math.ceil(3 * sigma)
    offsets = np.arange(-radius, radius + 1.0)
    bell = np.exp(-(offsets**2) / (2 * sigma**2))
    slope = -offsets * bell  # the filter is turned around by a convolution
    return _separable(planes, bell, slope, "constant"), _separable(planes, slope, bell, "constant")


def _magnitude(along_x: FloatArray, along_y: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(along_x**2 + along_y**2 + _LEAST_SQUARE))


def _log_gabor_responses(plane: FloatArray, scale: int) -> FloatArray:
    """Return real and imaginary part of the response to each log-Gabor filter, [24, H, W], fine scales first."""
    height, width = plane.shape
    responses = np.fft.ifft2(_log_gabor(height, width, scale) * np.fft.fft2(plane))
    return np.stack([responses.real, responses.imag], axis=1).reshape(-1, height, width)


@lru_cache(maxsize=4)
def _log_gabor(height: int, width: int, scale: int) -> FloatArray:
    """Return the transfer functions of the filters, [3 scales * 4 orientations, H, W]."""
    x, y = np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height))
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    radius[0, 0] = 1
    spread = math.pi / (_ORIENTATIONS * _ANGLE_RATIO)
    filters = []
    for index in range(_SCALES):
        wavelength = _WAVELENGTH / scale**_WAVELENGTH_FALL * _WAVELENGTH_GROWTH**index
        band = np.exp(-(np.log(radius * wavelength) ** 2) / (2 * math.log(_BANDWIDTH) ** 2))
        band[0, 0] = 0
        for orientation in range(_ORIENTATIONS):
            away = angle - orientation * math.pi / _ORIENTATIONS
            away = np.abs(np.arctan2(np.sin(away), np.cos(away)))
            filters.append(band * np.exp(-(away**2) / (2 * spread**2)))
    return np.stack(filters)


def _general_gaussian(blocks: FloatArray) -> FloatArray:
    """Return shape and mean scale of the fit to each channel of blocks [N, C, h, w]: [N, 2 C], a pair a channel."""
    number, channels = blocks.shape[:2]
    shape, left, right = fit_aggd(blocks.reshape(number * channels, *blocks.shape[2:]))
    return np.stack([shape, (left + right) / 2], axis=1).reshape(number, 2 * channels)


def _weibull(blocks: FloatArray) -> FloatArray:
    """Return scale and shape of the fit to each channel of blocks [N, C, h, w]: [N, 2 C], a pair a channel."""
    number, channels = blocks.shape[:2]
    scale, shape = fit_weibull(blocks.reshape(number * channels, -1))
    return np.stack([scale, shape], axis=1).reshape(number, 2 * channels)


def fit_weibull(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit a Weibull distribution to each row of positive values [N, M] by maximum likelihood (Newton's method).

    Returns:
        Scale and shape, each [N]; NaN where all values are equal.
    """
    with np.errstate(all="ignore"):
        peak = values.max(1, keepdims=True)
        logs = np.log(values / peak)  # at most 0: powers of values up to thousands would overflow
        mean = logs.mean(1)
        shape = 1.2 / logs.std(1, ddof=1)
        for _ in range(_NEWTON_STEPS):
            powers = np.exp(shape[:, None] * logs)
            total, first, second = (np.einsum("nm,nm->n", powers, logs**order) for order in range(3))
            ratio = first / total
            step = (ratio - mean - 1 / shape) / (second / total - ratio**2 + 1 / shape**2)
            shape = shape - step
            if not np.any(np.abs(step) > _NEWTON_CHANGE):
                break
        scale = peak[:, 0] * np.exp(shape[:, None] * logs).mean(1) ** (1 / shape)
    return scale, shape


def _gaussian(taps: int, sigma: float) -> FloatArray:
    offsets = np.arange(taps) - (taps - 1) / 2
    bell = np.exp(-(offsets**2) / (2 * sigma**2))
    return np.asarray(bell / bell.sum())


def _separable(planes: FloatArray, vertical: FloatArray, horizontal: FloatArray, border: str) -> FloatArray:
    """Correlate planes [C, H, W] with taps along each axis; of an even number of taps one more lies behind."""
    return np.stack([_along(_along(plane, vertical, 0, border), horizontal, 1, border) for plane in planes])


def _along(plane: FloatArray, taps: FloatArray, axis: int, border: str) -> FloatArray:
    before = (len(taps) - 1) // 2
    padding = [(0, 0), (0, 0)]
    padding[axis] = (before, len(taps) - 1 - before)
    padded = np.pad(plane, padding, mode="edge" if border == "edge" else "constant")
    found, length = np.zeros_like(plane), plane.shape[axis]
    for index, tap in enumerate(taps):
        found += tap * (padded[index : index + length] if axis == 0 else padded[:, index : index + length])
    return found
