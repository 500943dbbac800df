"""What a metric is: a name, what it needs, how it is stated, and a function from frames to one value per frame.

A new metric is one module with one :class:`Metric`, and a line in :mod:`starvsr.metrics.registry`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError

ByteArray = npt.NDArray[np.uint8]
FlowArray = npt.NDArray[np.float32]
Need = Literal["gt", "lq", "flow", "motion"]


@dataclass(frozen=True)
class FlowPair:
    """Optical flow between the frame before and this one, each float32 [H, W, 2], (x, y) in pixels."""

    forward: FlowArray
    """From the frame before to this one."""
    backward: FlowArray


@dataclass(frozen=True)
class MotionPair:
    """Optical flow from this frame to the one before, each float32 [H, W, 2], (x, y) in pixels."""

    hq: FlowArray
    """In the result."""
    gt: FlowArray
    """In the ground truth."""


@dataclass(frozen=True)
class FrameSet:
    """A frame of a result and what belongs to it, all uint8 [H, W, 3] RGB with the border already cut off.

    Args:
        hq: The result.
        ground_truth: Of the same shape; None where there is none.
        low_quality: What the result was made from, [h, w, 3]; None where no metric asked for it.
        flow_pair: Flow of the ground truth (without one, of the enlarged input) from the frame before; None at the
            first frame and where no metric asked for it.
        motion_pair: Flow of the result and of the ground truth to the frame before; None as `flow_pair`.
    """

    hq: ByteArray
    ground_truth: ByteArray | None = None
    low_quality: ByteArray | None = None
    flow_pair: FlowPair | None = None
    motion_pair: MotionPair | None = None

    @property
    def gt(self) -> ByteArray:
        """The ground truth.

        Raises:
            OptionError: there is none.
        """
        if self.ground_truth is None:
            raise OptionError("this metric compares with a ground truth and there is none: leave it out")
        return self.ground_truth

    @property
    def lq(self) -> ByteArray:
        """The low-quality frame.

        Raises:
            OptionError: there is none.
        """
        if self.low_quality is None:
            raise OptionError('this metric looks at the low-quality input: put "lq" among its needs and give it')
        return self.low_quality


class Compute(Protocol):
    """Measures a clip, frame after frame."""

    def __call__(self, frames: Iterator[FrameSet], /, *, device: str) -> Iterator[float]:
        """Yield one value for each frame, in order; NaN for a frame that has none of its own.

        A metric of pairs has no value for the first frame, one of a whole clip none but for the last. Values may come
        later than their frames: a metric may read the whole stream first. No frame needs to be kept.

        Args:
            frames: a clip in presentation order.
            device: where networks compute, as torch names it.
        """


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """What has to be known of a metric beside its values: plain data, as records of results keep it.

    Attributes:
        name: What tables and files call it, with the unit where it is not SI ("psnr_y_db").
        unit: What values are counted in; "" for plain numbers.
        higher_is_better: Direction.
        protocol: What has to be known beside the name before a value can be compared with another one.
        weights: Weights of networks that it computes with, and where they come from; "" for none.
        best: Value of a perfect result where values may lie on both sides of it; the worst ones are the furthest.
        digits: Digits behind the point in tables.
    """

    name: str
    unit: str
    higher_is_better: bool
    protocol: str
    weights: str = ""
    best: float | None = None
    digits: int = 3

    @property
    def direction(self) -> str:
        """An arrow to the better values, or the best one."""
        return f"→{self.best:g}" if self.best is not None else "↑" if self.higher_is_better else "↓"

    def loss(self, value: float) -> float:
        """Return how bad a value is: larger is worse, whatever the direction; NaN stays NaN."""
        if self.best is not None:
            return abs(value - self.best)
        return -value if self.higher_is_better else value

    def text(self, value: float | None) -> str:
        """Write a value as tables show it; "-" for none."""
        if value is None or math.isnan(value):
            return "-"
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        return f"{round(value, self.digits) + 0.0:.{self.digits}f}"  # without the sign of a zero


@dataclass(frozen=True, kw_only=True)
class Metric(MetricFacts):
    """One way to measure results.

    Attributes:
        needs: What it looks at beside the result: "gt", "lq", "flow" (optical flow both ways between neighbouring
            frames), "motion" (optical flow of the result and of the ground truth to the frame before; needs "gt").
        compute: Measures a clip.
        requires: Raises an error, a child of `StarVsrError`, where the metric cannot be computed on this machine: a
            package or weights are missing, and the message says how to get them. None for a metric that needs nothing.
        of_single_frames: Whether a frame's value depends on that frame alone, so that some frames of a clip can be left
            out (:mod:`starvsr.metrics.sampled`).
    """

    needs: frozenset[Need]
    compute: Compute
    requires: Callable[[], None] | None = None
    of_single_frames: bool = False

    def check(self) -> None:
        """Refuse where the metric cannot be computed on this machine.

        Raises:
            StarVsrError: A package or weights are missing; the message says how to get them.
        """
        if self.requires is not None:
            self.requires()

    def facts(self) -> MetricFacts:
        """Return what of it is plain data."""
        return MetricFacts(**{one.name: getattr(self, one.name) for one in fields(MetricFacts)})


def per_frame(function: Callable[[FrameSet], float]) -> Compute:
    """Make a metric's ``compute`` of a function of single frames."""

    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        return (function(frame) for frame in frames)

    return compute


def mean(values: npt.ArrayLike) -> float:
    """Average the values of a clip's frames; frames without a value do not count, and a clip without any is NaN."""
    known = [value for value in np.asarray(values, np.float64).tolist() if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
