"""Weights of bicubic enlargement by a whole factor, as torch has it: a = -0.75, pixel centres, edges repeated."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["REACH", "phase_weights"]

REACH = 2
"""Input pixels that an output pixel depends on, to each side of the one it lies in."""
_A = -0.75


@cache
def phase_weights(scale: int) -> npt.NDArray[np.float32]:
    """Return the weights of each sub-pixel of a line, float32 [scale, 5].

    Output pixel ``scale * j + phase`` is the sum of the input pixels j - 2 ... j + 2 with the weights of the phase. An
    array, not a tensor: one that is kept would belong to the mode in which it was made (inference, tracing).
    """
    weights = np.zeros((scale, 2 * REACH + 1))
    for phase in range(scale):
        centre = (phase + 0.5) / scale - 0.5
        for tap in range(-REACH, REACH + 1):
            weights[phase, tap + REACH] = _cubic(abs(centre - tap))
    return weights.astype(np.float32)


def _cubic(distance: float) -> float:
    """The cubic convolution kernel (Keys 1981)."""
    if distance < 1:
        return ((_A + 2) * distance - (_A + 3)) * distance**2 + 1
    if distance < 2:
        return _A * (((distance - 5) * distance + 8) * distance - 4)
    return 0.0
