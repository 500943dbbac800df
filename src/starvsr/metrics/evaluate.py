"""Score methods on clips, frame after frame.

`evaluate` takes clips (a low-quality one, and its ground truth where there is one) and methods (functions from the
frames of one to the frames of another), so it needs to know neither networks nor files. All metrics read one pass of
a clip; nothing is kept of it but one value per frame and metric.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from starvsr.metrics.flow_choice import FlowName, FlowSource, choose_flow
from starvsr.metrics.frame_sets import Frames, Preparing, frame_sets
from starvsr.metrics.lockstep import Values, compute_all
from starvsr.metrics.metric import ByteArray, FrameSet, Metric
from starvsr.metrics.registry import DEFAULT_METRICS, choose_metrics
from starvsr.metrics.scores import Score, ScoreTable
from starvsr.models.flow.estimator import FlowEstimator

Item = TypeVar("Item")

Method = Callable[[Iterator[ByteArray]], Iterable[ByteArray]]
"""Takes the frames of a low-quality clip, uint8 [h, w, 3] RGB, and gives those of the result, as many, [H, W, 3]."""

OnFrame = Callable[["ClipPair", str, int, FrameSet], None]
"""Called with the clip, the method's name, the index of the frame, and the whole frame beside its ground truth."""


@dataclass(frozen=True)
class ClipPair:
    """A low-quality clip and the ground truth it came from.

    Attributes:
        name: what the table calls it.
        group: clips of one group are averaged together, for example the degradation preset.
        lq: uint8 [h, w, 3] RGB frames.
        gt: as many, [H, W, 3]; None where there is no ground truth, for metrics that need none.
    """

    name: str
    group: str
    lq: Frames
    gt: Frames | None = None


def by_clip(upscale: Callable[[ByteArray], ByteArray]) -> Method:
    """Make a method of a function of whole clips, uint8 [T, h, w, 3] to [T, H, W, 3]; it holds both in memory."""
    return lambda frames: iter(upscale(np.stack(list(frames))))


def by_frame(upscale: Callable[[ByteArray], ByteArray]) -> Method:
    """Make a method of a function of clips that knows one frame at a time; it gets each frame as [1, h, w, 3]."""
    return lambda frames: (upscale(frame[None])[0] for frame in frames)


def evaluate(
    pairs: Iterable[ClipPair],
    methods: Mapping[str, Method],
    *,
    metrics: Sequence[str | Metric] = DEFAULT_METRICS,
    crop_px: int = 8,
    flow: FlowName | FlowEstimator | None = None,
    flow_source: FlowSource = "auto",
    device: str = "cpu",
    on_frame: OnFrame | None = None,
    on_result: Callable[[ClipPair, str, Score], None] | None = None,
) -> ScoreTable:
    """Run every method on every clip and score it.

    Args:
        pairs: read one after another; each is read once for each method.
        methods: name to method.
        metrics: metrics, or names out of `METRICS` (:mod:`starvsr.metrics.registry`).
        crop_px: pixels cut from each border before any metric: networks guess there, and so does the blur of
            the degradation. VMAF then also loses a last odd row or column.
        flow: estimates optical flow for the metrics that need it: "dis", "dis-fast", "farneback", "raft" or an
            estimator; None for DIS.
        flow_source: the clip that it is estimated from (see :data:`~starvsr.metrics.flow_choice.FlowSource`).
        device: where the networks of metrics compute.
        on_frame: called with each frame before it is measured.
        on_result: called with each score.

    Returns:
        The table. Its protocol states metrics, crop, flow and weights: without them no number can be compared.
        ``seconds_per_frame`` is the time that methods took, not that of reading frames.

    Raises:
        OptionError: a metric is unknown or needs what a clip does not have, or a method returns other sizes or
            numbers of frames than the ground truth.
    """
    chosen = choose_metrics(metrics)
    preparing = Preparing(chosen, crop_px, _flow_for(chosen, flow, device), flow_source)
    table = ScoreTable(chosen, protocol=preparing.protocol())
    for pair in pairs:
        for method, upscale in methods.items():
            preparing.check(pair.name, gt=pair.gt is not None, lq=True)
            reading = _Timed(iter(pair.lq))
            result = _Timed(_frames_of(upscale, reading))
            lq = pair.lq if preparing.reads_lq(gt=pair.gt is not None) else None
            sets = _shown(frame_sets(result, pair.gt, lq, method, pair.name), pair, method, on_frame)
            frames = compute_all(chosen, preparing(sets), device)
            seconds = max(0.0, result.seconds - reading.seconds) / max(result.count, 1)  # sums of floats
            score = Score(pair.name, pair.group, method, frames, seconds)
            table.scores.append(score)
            if on_result is not None:
                on_result(pair, method, score)
    return table


def measure(
    hq: Frames,
    gt: Frames | None = None,
    *,
    lq: Frames | None = None,
    metrics: Sequence[str | Metric] = DEFAULT_METRICS,
    crop_px: int = 8,
    flow: FlowName | FlowEstimator | None = None,
    flow_source: FlowSource = "auto",
    device: str = "cpu",
) -> Values:
    """Measure one result.

    Args:
        hq: its frames, uint8 [H, W, 3] RGB.
        gt: the ground truth's.
        lq: the input's, for metrics that look at it.
        metrics: as in :func:`evaluate`, like the other arguments.
        crop_px: pixels cut from each border.
        flow: estimates optical flow, as in :func:`evaluate`.
        flow_source: the clip that it is estimated from.
        device: where networks compute.

    Returns:
        metric name to float64 [T], NaN for frames without a value of their own.

    Raises:
        OptionError: as :func:`evaluate`.
    """
    chosen = choose_metrics(metrics)
    preparing = Preparing(chosen, crop_px, _flow_for(chosen, flow, device), flow_source)
    preparing.check("the clip", gt=gt is not None, lq=lq is not None)
    sets = frame_sets(iter(hq), gt, lq, "the method", "the clip")
    return compute_all(chosen, preparing(sets, ahead=True), device)


def _frames_of(upscale: Method, lq: Iterator[ByteArray]) -> Iterator[ByteArray]:
    """Call a method when the first frame is asked for: what it does at once is work of its own, too."""
    yield from upscale(lq)


def _flow_for(metrics: Sequence[Metric], flow: FlowName | FlowEstimator | None, device: str) -> FlowEstimator:
    """Return the estimator; what no metric asks for is not loaded."""
    is_needed = any(metric.needs & {"flow", "motion"} for metric in metrics)
    return choose_flow(flow if is_needed or not isinstance(flow, str) else None, device)


class _Timed(Iterator[Item]):
    """An iterator that measures the time spent waiting for its items."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items, self.seconds, self.count = items, 0.0, 0

    def __next__(self) -> Item:
        began = time.perf_counter()
        try:
            item = next(self._items)
        finally:
            self.seconds += time.perf_counter() - began
        self.count += 1
        return item


def _shown(sets: Iterator[FrameSet], pair: ClipPair, method: str, on_frame: OnFrame | None) -> Iterator[FrameSet]:
    for index, frame in enumerate(sets):
        if on_frame is not None:
            on_frame(pair, method, index, frame)
        yield frame
