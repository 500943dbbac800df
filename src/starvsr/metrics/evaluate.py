"""Score methods on clips, frame after frame.

`evaluate` takes clips (a low-quality one, and its ground truth where there is one) and methods (functions from the
frames of one to the frames of another), so it needs to know neither networks nor files. All metrics read one pass of
a clip; nothing is kept of it but one value per frame and metric.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

import numpy as np

from starvsr.errors import OptionError
from starvsr.imaging.frames import enlarge
from starvsr.metrics.lockstep import Values, compute_all
from starvsr.metrics.metric import ByteArray, FrameSet, Metric, Need
from starvsr.metrics.registry import DEFAULT_METRICS, choose_metrics
from starvsr.metrics.scores import Score, ScoreTable
from starvsr.metrics.temporal import estimate_flows
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.video.pixels import from_unit, to_unit

Item = TypeVar("Item")

Frames = Iterable[ByteArray]
"""Frames uint8 [H, W, 3] RGB in presentation order, as often as they are asked for: an array [T, H, W, 3], or an
object that decodes a file anew for each iterator."""

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
    flow: FlowEstimator | None = None,
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
        flow: estimates optical flow for the metrics that need it; None for DIS.
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
    chosen, flow = choose_metrics(metrics), flow or DisFlow()
    table = ScoreTable(chosen, protocol=_protocol(chosen, crop_px, flow))
    for pair in pairs:
        for method, upscale in methods.items():
            needs = _needs(chosen, pair.name, gt=pair.gt is not None, lq=True)
            reading = _Timed(iter(pair.lq))
            result = _Timed(iter(upscale(reading)))
            lq = pair.lq if "lq" in needs or pair.gt is None else None
            sets = _shown(_frame_sets(result, pair.gt, lq, method, pair.name), pair, method, on_frame)
            frames = compute_all(chosen, _prepared(sets, needs, crop_px, flow), device)
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
    flow: FlowEstimator | None = None,
    device: str = "cpu",
) -> Values:
    """Measure one result.

    Args:
        hq: its frames, uint8 [H, W, 3] RGB.
        gt: the ground truth's.
        lq: the input's, for metrics that look at it.
        metrics: as in :func:`evaluate`, like the other arguments.
        crop_px: pixels cut from each border.
        flow: estimates optical flow; None for DIS.
        device: where networks compute.

    Returns:
        metric name to float64 [T], NaN for frames without a value of their own.

    Raises:
        OptionError: as :func:`evaluate`.
    """
    chosen = choose_metrics(metrics)
    needs = _needs(chosen, "the clip", gt=gt is not None, lq=lq is not None)
    sets = _frame_sets(iter(hq), gt, lq, "the method", "the clip")
    return compute_all(chosen, _prepared(sets, needs, crop_px, flow or DisFlow()), device)


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


def _frame_sets(
    result: Iterator[ByteArray], gt: Frames | None, lq: Frames | None, method: str, name: str
) -> Iterator[FrameSet]:
    """Put the frames of a result together with those they belong to."""
    given = [iter(frames) for frames in (gt, lq) if frames is not None]
    for hq, *others in zip_longest(result, *given):
        if hq is None or any(frame is None for frame in others):
            raise OptionError(f"{method} made {'fewer' if hq is None else 'more'} frames of {name} than it has")
        truth = others[0] if gt is not None else None
        if truth is not None and hq.shape != truth.shape:
            raise OptionError(f"{method} made {hq.shape} of {name}, wanted {truth.shape}: check its scale")
        yield FrameSet(hq, truth, others[-1] if lq is not None else None)


def _prepared(
    sets: Iterator[FrameSet], needs: Collection[Need], crop_px: int, flow: FlowEstimator
) -> Iterator[FrameSet]:
    """Cut the borders off, estimate flow where it is needed, and leave away what is not."""
    before: ByteArray | None = None
    for frame in sets:
        hq, truth = _inner(frame.hq, crop_px), frame.ground_truth
        flows = None
        if "flow" in needs:
            guide = _inner(_enlarged(frame) if truth is None else truth, crop_px)
            flows = None if before is None else estimate_flows(before, guide, flow)
            before = guide
        yield FrameSet(
            hq,
            None if truth is None else _inner(truth, crop_px),
            _inner_lq(frame, crop_px) if "lq" in needs else None,
            flows,
        )


def _inner(frame: ByteArray, crop_px: int) -> ByteArray:
    height, width = frame.shape[:2]
    if crop_px < 0 or 2 * crop_px >= min(height, width):
        raise OptionError(f"crop_px={crop_px} leaves nothing of {width}x{height} frames: use a smaller crop")
    return frame[crop_px : height - crop_px, crop_px : width - crop_px]


def _inner_lq(frame: FrameSet, crop_px: int) -> ByteArray:
    scale = frame.hq.shape[0] // frame.lq.shape[0]
    if crop_px % max(scale, 1):
        raise OptionError(f"crop_px={crop_px} is no multiple of the scale {scale}, as metrics of the input need")
    return _inner(frame.lq, crop_px // max(scale, 1))


def _enlarged(frame: FrameSet) -> ByteArray:
    """Return the input at the size of the result, bicubic: what flow is estimated from without a ground truth."""
    height, width = frame.hq.shape[:2]
    large = enlarge(to_unit(frame.lq[None], 8)[None], height, width, "bicubic")
    return from_unit(large[0], 8)[0].astype(np.uint8, copy=False)


def _needs(metrics: Sequence[Metric], name: str, *, gt: bool, lq: bool) -> set[Need]:
    """Return what metrics need of a clip.

    Raises:
        OptionError: the clip does not have it.
    """
    for metric in metrics:
        missing = [
            need for need, there in (("gt", gt), ("lq", lq), ("flow", gt or lq)) if need in metric.needs and not there
        ]
        if missing:
            named = {"gt": "a ground truth", "lq": "the low-quality input", "flow": "a ground truth or the input"}
            raise OptionError(f"the metric {metric.name} needs {named[missing[0]]} and {name} has none: leave it out")
    return {need for metric in metrics for need in metric.needs}


def _protocol(metrics: Sequence[Metric], crop_px: int, flow: FlowEstimator) -> dict[str, object]:
    protocol: dict[str, object] = {"metrics": {metric.name: metric.protocol for metric in metrics}, "crop_px": crop_px}
    if any("flow" in metric.needs for metric in metrics):
        protocol["flow"] = f"{flow.name}, of the ground truth (without one, of the input enlarged)"
    weights = {metric.name: metric.weights for metric in metrics if metric.weights}
    return protocol | ({"weights": weights} if weights else {})
