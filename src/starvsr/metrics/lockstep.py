"""Several metrics over one pass of a clip, with one frame held at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.metric import FrameSet, Metric

Values = dict[str, npt.NDArray[np.float64]]
"""Metric name to one value per frame."""


def compute_all(metrics: Sequence[Metric], frames: Iterator[FrameSet], device: str = "cpu") -> Values:
    """Measure a clip by several metrics at once.

    Each metric runs on a thread of its own and gets the next frame when all are done with the one before: nothing is
    decoded or computed twice, and memory does not grow with the clip.

    Args:
        metrics: of different names.
        frames: the clip; read once.
        device: where networks compute.

    Returns:
        float64 [T] for each metric.

    Raises:
        OptionError: a metric does not give one value per frame. What metrics and ``frames`` raise passes through.
    """
    if len(metrics) == 1:
        counted = _Counted(frames)
        return _checked({metrics[0].name: list(metrics[0].compute(counted, device=device))}, counted.count)
    runs = [_Run(metric, device) for metric in metrics]
    count = 0
    try:
        for run in runs:
            run.start()
        for frame in frames:
            _hand_on(runs, frame)
            count += 1
        for run in runs:
            run.finish()
    except BaseException:
        for run in runs:
            run.abort()
        raise
    for run in runs:
        run.raise_error()
    return _checked({run.metric.name: run.values for run in runs}, count)


def _hand_on(runs: Sequence[_Run], frame: FrameSet) -> None:
    for run in runs:
        run.feed.put(frame)
    for run in runs:
        run.feed.wait()
        run.raise_error()


def _checked(values: dict[str, list[float]], count: int) -> Values:
    for name, found in values.items():
        if len(found) != count:
            raise OptionError(f"the metric {name} gave {len(found)} values for {count} frames: it must yield one each")
    return {name: np.array(found, np.float64) for name, found in values.items()}


class _Counted:
    """An iterator that counts what it has given."""

    def __init__(self, frames: Iterator[FrameSet]) -> None:
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[FrameSet]:
        return self

    def __next__(self) -> FrameSet:
        frame = next(self._frames)
        self.count += 1
        return frame


class _Aborted(Exception):
    """Raised in a metric when another one, or the clip, has failed."""


class _Feed:
    """Hands frames from one thread to another, one at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: FrameSet | None = None
        self._is_waiting = self._is_over = self._is_aborted = self._is_closed = False

    def put(self, frame: FrameSet) -> None:
        """Give the next frame; the one before must have been waited for."""
        with self._changed:
            self._frame, self._is_waiting = frame, False
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until the reader asks for another frame, or reads no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_waiting or self._is_closed)

    def end(self, *, aborted: bool = False) -> None:
        """Signal the reader that no frame follows."""
        with self._changed:
            self._is_over, self._is_aborted = True, aborted
            self._changed.notify_all()

    def close(self) -> None:
        """Signal the writer that reading has ended."""
        with self._changed:
            self._is_closed, self._frame = True, None
            self._changed.notify_all()

    def __iter__(self) -> Iterator[FrameSet]:
        return self

    def __next__(self) -> FrameSet:
        with self._changed:
            if self._frame is None:
                self._is_waiting = True
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._frame is not None or self._is_over)
            frame, self._frame = self._frame, None
            if self._is_aborted:
                raise _Aborted
            if frame is None:
                raise StopIteration
            return frame


class _Run:
    """One metric at work on a thread of its own."""

    def __init__(self, metric: Metric, device: str) -> None:
        self.metric, self.feed, self.values = metric, _Feed(), list[float]()
        self._device, self._error = device, list[BaseException]()
        self._thread = threading.Thread(target=self._work, name=f"metric {metric.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self.feed.end()
        self._thread.join()

    def abort(self) -> None:
        self.feed.end(aborted=True)
        if self._thread.ident is not None:
            self._thread.join()

    def raise_error(self) -> None:
        if self._error:
            raise self._error[0]

    def _work(self) -> None:
        try:
            self.values.extend(self.metric.compute(self.feed, device=self._device))
        except BaseException as error:  # raised again on the caller's thread
            self._error.append(error)
        finally:
            self.feed.close()
