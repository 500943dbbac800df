"""Optical flow between enlarged neighbours of a clip."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor

from starvsr.families.stablevsr.configuration import SCALE
from starvsr.models.flow.estimator import FlowEstimator


class EnlargedFlows:
    """Optical flow between enlarged neighbours, each estimated once and kept as float32.

    Args:
        frames: [T, 3, h, w] in [-1, 1].
        estimator: The method.
    """

    def __init__(self, frames: Tensor, estimator: FlowEstimator) -> None:
        self._frames, self._estimator = frames.float(), estimator
        self._flows: dict[tuple[int, int], Tensor] = {}

    def estimate(self, directions: Iterable[int]) -> None:
        """Estimate all flows of some directions: 1 for those to the frame before, as sampling forwards asks; -1."""
        for direction in directions:
            for source in range(len(self._frames) - 1):
                pair = (source + 1, source) if direction == 1 else (source, source + 1)
                self(*pair)

    def __call__(self, target: int, source: int) -> Tensor:
        """Return the flow [1, 2, 4h, 4w] between two frames, enlarged by bicubic interpolation and not clamped."""
        if (target, source) not in self._flows:
            self._flows[target, source] = self._estimator(self._enlarged(target), self._enlarged(source)).float()
        return self._flows[target, source]

    def _enlarged(self, index: int) -> Tensor:
        frame = self._frames[index : index + 1]
        return F.interpolate(frame, scale_factor=SCALE, mode="bicubic", align_corners=False)
