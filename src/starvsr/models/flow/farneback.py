"""Optical flow by polynomial expansion (Farneback), a classical method on the CPU, through OpenCV (extra "eval").

Smoother than DIS and about half as fast.

Source: Farneback 2003, "Two-frame motion estimation based on polynomial expansion".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from starvsr.models.flow.dis import ByteFlow, opencv


class FarnebackFlow(ByteFlow):
    """A :class:`~starvsr.models.flow.estimator.FlowEstimator`: Farneback on 8-bit luma."""

    name = "OpenCV Farneback, pyramid 0.5 of 5 levels, window 15, 3 iterations, polynomial 5 sigma 1.1"

    def estimate(self, gray: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the flow [H, W, 2] between pictures of luma."""
        flow = opencv().calcOpticalFlowFarneback(
            gray, other, None, pyr_scale=0.5, levels=5, winsize=15, iterations=3, poly_n=5, poly_sigma=1.1, flags=0
        )
        return np.asarray(flow, np.float32)


def load_farneback() -> FarnebackFlow:
    """Return the method, once it is known that it can work.

    Raises:
        OptionError: OpenCV is not installed.
    """
    opencv()
    return FarnebackFlow()
