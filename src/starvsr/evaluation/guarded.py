"""Metrics that cannot be computed on a clip are reported with the reason; the others go on."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from starvsr.errors import StarVsrError
from starvsr.metrics.metric import FrameSet, Metric


@dataclass(frozen=True)
class MissingMetric:
    """A metric that a clip has no value of.

    Attributes:
        metric: Its name.
        reason: Why, and what to do.
    """

    metric: str
    reason: str


class Guard:
    """Wraps metrics for one clip, and keeps the reasons of those that fail."""

    def __init__(self) -> None:
        self.missing: list[MissingMetric] = []

    def wrap(self, metrics: Collection[Metric]) -> list[Metric]:
        """Return metrics that yield NaN for all frames where the given ones raise a `StarVsrError`."""
        return [replace(metric, compute=_Guarded(metric, self.missing)) for metric in metrics]


class _Guarded:
    """The ``compute`` of a metric that may fail."""

    def __init__(self, metric: Metric, missing: list[MissingMetric]) -> None:
        self._metric, self._missing = metric, missing

    def __call__(self, frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        watched = _Watched(frames)
        num_values = 0
        try:
            for value in self._metric.compute(watched, device=device):
                num_values += 1
                yield value
        except StarVsrError as error:
            if watched.error is error:  # reading failed, not the metric
                raise
            self._missing.append(MissingMetric(self._metric.name, " ".join(str(error).split())))
            for _ in watched:
                pass
            for _ in range(watched.count - num_values):
                yield math.nan


class _Watched:
    """Frames that are counted, and whose own errors are known."""

    def __init__(self, frames: Iterator[FrameSet]) -> None:
        self._frames, self.count = frames, 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[FrameSet]:
        return self

    def __next__(self) -> FrameSet:
        try:
            frame = next(self._frames)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.count += 1
        return frame
