"""The protocol of optical flow estimators."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class FlowEstimator(Protocol):
    """Estimates where the pixels of frames lie in other frames."""

    @property
    def name(self) -> str:
        """Method, implementation and settings, as a protocol of measurements states them."""

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        """Estimate the flow from frames to other frames of the same scene.

        Args:
            frames: float32 [B, 3, H, W], RGB in [-1, 1].
            others: the frames in which their content is looked for, same shape.

        Returns:
            float32 [B, 2, H, W] on the device of ``frames``: displacement (x, y) in pixels; the content of ``frames``
            at (x, y) lies in ``others`` at (x, y) + flow.

        Raises:
            OptionError: a package is missing, or the frames are too small.
        """
