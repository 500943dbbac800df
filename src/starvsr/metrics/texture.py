"""Fine detail against ground truth, and the weave that sub-pixel heads leave.

Detail is what a frame loses when it is made a quarter as large, the size of the input, and enlarged again: the luma
minus that copy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, Metric, per_frame

FloatArray = npt.NDArray[np.float64]

_LUMA = (0.299, 0.587, 0.114)
_LEAST_DETAIL = 0.01
"""RMS in levels below which there is none but rounding."""
_SCALE = 4
_WINDOW = 64
_QUARTER = _WINDOW // 4
"""Bin of 1/4 cycle per pixel."""
_NEIGHBOURS = (-4, -3, -2, 2, 3, 4)
_SMOOTH_SHARE = 0.5


def detail_share(gt: ByteArray, hq: ByteArray, *, crop_px: int = 0) -> FloatArray:
    """Return how much of the ground truth's fine detail a result draws, rightly or wrongly: ratio of RMS values.

    Args:
        gt: ground truth, uint8 [T, H, W, 3] RGB, sides of at least 8 px after the crop.
        hq: result, same shape.
        crop_px: pixels cut from each border first.

    Returns:
        float64 [T]; 1 where there is as much as in the ground truth, infinite where that has none and the result has.

    Raises:
        OptionError: shapes differ or frames are too small.
    """
    wanted, made = (_rms(planes) for planes in _details(gt, hq, crop_px))
    none = np.where(made > _LEAST_DETAIL, np.inf, 1.0)
    return np.asarray(np.divide(made, wanted, out=none, where=wanted > _LEAST_DETAIL))


def detail_correlation(gt: ByteArray, hq: ByteArray, *, crop_px: int = 0) -> FloatArray:
    """Return how well a result's fine detail is placed: its correlation with the ground truth's.

    Arguments and errors as :func:`detail_share`.

    Returns:
        float64 [T] in [-1, 1]; 0 where one of the two has no detail.
    """
    wanted, made = _details(gt, hq, crop_px)
    product = (wanted * made).mean((1, 2))
    sizes = _rms(wanted), _rms(made)
    both = (sizes[0] > _LEAST_DETAIL) & (sizes[1] > _LEAST_DETAIL)
    return np.asarray(np.divide(product, sizes[0] * sizes[1], out=np.zeros_like(product), where=both))


def weave(frames: ByteArray, *, crop_px: int = 0) -> FloatArray:
    """Return the power at 1/4 cycle per pixel over that of neighbouring frequencies, in the smoother half of a frame.

    A pattern of 4 px, along rows or columns, is what the squares of a 4x head leave. Each window of 64x64 luma
    pixels counts alike; the ratio is the geometric mean over windows, of the direction where it is larger.

    Args:
        frames: uint8 [T, H, W, 3] RGB.
        crop_px: pixels cut from each border first; after that the upper left corner must lie on the grid.

    Returns:
        float64 [T]: about 1 without a pattern.

    Raises:
        OptionError: a frame holds no window.
    """
    luma = _luma(frames, crop_px).numpy()
    return np.array([_frame_weave(plane) for plane in luma])


def _frame_weave(plane: npt.NDArray[np.float32]) -> float:
    height, width = (side // _WINDOW for side in plane.shape)
    if not height or not width:
        raise OptionError(f"the weave needs frames of at least {_WINDOW}x{_WINDOW} px after the crop")
    rows = plane[: height * _WINDOW, : width * _WINDOW].reshape(height, _WINDOW, width, _WINDOW)
    tiles = rows.transpose(0, 2, 1, 3).reshape(-1, _WINDOW, _WINDOW).astype(np.float64)
    order = np.argsort(tiles.std((1, 2)))
    tiles = tiles[order[: max(1, round(_SMOOTH_SHARE * len(tiles)))]]
    taper = np.hanning(_WINDOW + 1)[:-1]
    spectrum = np.abs(np.fft.rfft2((tiles - tiles.mean((1, 2), keepdims=True)) * taper[:, None] * taper)) ** 2
    logs = []
    for power in (spectrum.mean(1), _rows(spectrum)):  # along columns, along rows
        near = power[:, [_QUARTER + k for k in _NEIGHBOURS]].mean(1)
        logs.append(np.log((power[:, _QUARTER] + 1e-3) / (near + 1e-3)).mean())
    return float(np.exp(max(logs)))


def _rows(spectrum: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the power of each vertical frequency 0..32, [N, 33]."""
    power = spectrum.mean(2)
    return np.asarray(power[:, : _WINDOW // 2 + 1])


def _details(gt: ByteArray, hq: ByteArray, crop_px: int) -> tuple[FloatArray, FloatArray]:
    if gt.shape != hq.shape or gt.ndim != 4:
        raise OptionError(f"gt {gt.shape} and hq {hq.shape} must both be [T, H, W, 3] of one size")
    return _detail(_luma(gt, crop_px)), _detail(_luma(hq, crop_px))


def _detail(planes: torch.Tensor) -> FloatArray:
    frames, (height, width) = planes[:, None], planes.shape[-2:]
    if min(height, width) < 2 * _SCALE:
        raise OptionError(f"fine detail needs frames of at least 8x8 px after the crop, not {width}x{height}")
    small = F.interpolate(frames, size=(height // _SCALE, width // _SCALE), mode="bicubic", antialias=True)
    large = F.interpolate(small, size=(height, width), mode="bicubic")
    return np.asarray((frames - large)[:, 0].numpy(), np.float64)


def _luma(frames: ByteArray, crop_px: int) -> torch.Tensor:
    """BT.601 luma, full range, float32 [T, H, W] in [0, 255]."""
    window = frames[:, crop_px : frames.shape[1] - crop_px, crop_px : frames.shape[2] - crop_px]
    return torch.from_numpy((window @ np.array(_LUMA, np.float32)).astype(np.float32))


def _rms(planes: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt((planes**2).mean((1, 2))))


_DETAIL = "full-range BT.601 luma minus its copy made a quarter as large (bicubic, antialiased) and enlarged again"

DETAIL_SHARE = Metric(
    name="detail_share",
    unit="",
    higher_is_better=True,
    needs=frozenset({"gt"}),
    protocol=f"RMS of the detail over that of the ground truth's; detail: {_DETAIL}",
    compute=per_frame(lambda frame: float(detail_share(frame.gt[None], frame.hq[None])[0])),
    best=1.0,
)

DETAIL_CORRELATION = Metric(
    name="detail_correlation",
    unit="",
    higher_is_better=True,
    needs=frozenset({"gt"}),
    protocol=f"correlation of the detail with the ground truth's; detail: {_DETAIL}",
    compute=per_frame(lambda frame: float(detail_correlation(frame.gt[None], frame.hq[None])[0])),
)

WEAVE = Metric(
    name="weave",
    unit="",
    higher_is_better=False,
    needs=frozenset(),
    protocol="power at 1/4 cycle per pixel over that at 12 to 20 of 64 cycles, smoother half of 64x64 windows",
    compute=per_frame(lambda frame: float(weave(frame.hq[None])[0])),
)
