"""Flicker where the reference stands still: there every change of a result is its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, Compute, FrameSet, Metric, Need

_MOST_CHANGE = 1
"""Levels by which a pixel that stands still may change: rounding, and the last bit of a codec."""
_RADIUS = 2
"""Pixels around it that must stand still, too."""
_LEAST_SHARE = 0.001


def still(frame: ByteArray, before: ByteArray) -> npt.NDArray[np.bool_]:
    """Mark the pixels [H, W] that stand still with all neighbours up to 2 px away, in uint8 frames [H, W, 3]."""
    change = np.abs(frame.astype(np.int16) - before.astype(np.int16)).max(2)
    moving = change > _MOST_CHANGE
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (_RADIUS, _RADIUS)
        padded, length = np.pad(moving, padding, mode="edge"), moving.shape[axis]
        shifted = [np.take(padded, range(k, k + length), axis=axis) for k in range(2 * _RADIUS + 1)]
        moving = np.logical_or.reduce(shifted)
    return np.asarray(~moving)


def still_flicker(hq: ByteArray, hq_before: ByteArray, reference: ByteArray, reference_before: ByteArray) -> float:
    """Return how much a result changes where its reference stands still.

    Args:
        hq: a frame of the result, uint8 [H, W, 3].
        hq_before: the frame before it.
        reference: ground truth of the frame, or the input at 1/n of the size.
        reference_before: the frame before it.

    Returns:
        Root mean square of the change of RGB, in levels of 255; NaN where less than 0.1 % stand still.

    Raises:
        OptionError: the size of the result is no multiple of the reference's.
    """
    mask = still(reference, reference_before)
    scale, rest = divmod(hq.shape[0], mask.shape[0])
    if rest or hq.shape[1] != scale * mask.shape[1]:
        raise OptionError(
            f"flicker where the input stands still needs a result whose size is a multiple of the input's, not "
            f"{hq.shape[1]}x{hq.shape[0]} of {mask.shape[1]}x{mask.shape[0]}"
        )
    if mask.mean() < _LEAST_SHARE:
        return math.nan
    mask = mask.repeat(scale, 0).repeat(scale, 1)
    change = hq[mask].astype(np.float32) - hq_before[mask].astype(np.float32)
    return math.sqrt(float(np.mean(np.square(change), dtype=np.float64)))


def _compute(reference: Callable[[FrameSet], ByteArray]) -> Compute:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        before: tuple[ByteArray, ByteArray] | None = None
        for frame in frames:
            now = (frame.hq, reference(frame))
            yield math.nan if before is None else still_flicker(now[0], before[0], now[1], before[1])
            before = now

    return compute


def _metric(name: str, need: Need, reference: Callable[[FrameSet], ByteArray], words: str) -> Metric:
    return Metric(
        name=name,
        unit="levels",
        higher_is_better=False,
        needs=frozenset({need}),
        protocol=f"RMS change of RGB where {words} changes by at most {_MOST_CHANGE} level within {_RADIUS} px",
        compute=_compute(reference),
    )


STILL_FLICKER = _metric("still_flicker", "gt", lambda frame: frame.gt, "the ground truth")
STILL_FLICKER_LQ = _metric("still_flicker_lq", "lq", lambda frame: frame.lq, "the input")
