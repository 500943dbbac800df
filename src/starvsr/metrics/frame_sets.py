"""Frames of results put together with those they belong to, and prepared for metrics: borders cut, flow estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from starvsr.errors import OptionError
from starvsr.imaging.frames import enlarge
from starvsr.metrics.flow_choice import FLOW_SOURCES, FlowSource
from starvsr.metrics.flow_pairs import FlowPairs, flow_pairs
from starvsr.metrics.metric import ByteArray, FlowPair, FrameSet, Metric, MotionPair
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.video.pixels import from_unit, to_unit

Frames = Iterable[ByteArray]
"""Frames uint8 [H, W, 3] RGB in presentation order, as often as they are asked for: an array [T, H, W, 3], or an
object that decodes a file anew for each iterator."""

_NEEDS = {"gt": "a ground truth", "lq": "the low-quality input", "flow": "a ground truth or the input"}


def frame_sets(
    result: Iterator[ByteArray], gt: Frames | None, lq: Frames | None, method: str, name: str
) -> Iterator[FrameSet]:
    """Put the frames of a result together with those they belong to.

    Raises:
        OptionError: numbers of frames or sizes differ.
    """
    given = [iter(frames) for frames in (gt, lq) if frames is not None]
    for hq, *others in zip_longest(result, *given):
        if hq is None or any(frame is None for frame in others):
            raise OptionError(f"{method} made {'fewer' if hq is None else 'more'} frames of {name} than it has")
        truth = others[0] if gt is not None else None
        if truth is not None and hq.shape != truth.shape:
            raise OptionError(f"{method} made {hq.shape} of {name}, wanted {truth.shape}: check its scale")
        yield FrameSet(hq, truth, others[-1] if lq is not None else None)


@dataclass(frozen=True)
class Preparing:
    """Prepares the frames of clips for metrics.

    Args:
        metrics: what is going to be measured.
        crop_px: pixels cut from each border.
        flow: estimates optical flow where a metric needs it.
        flow_source: from which clip.
    """

    metrics: Sequence[Metric]
    crop_px: int
    flow: FlowEstimator
    flow_source: FlowSource = "auto"

    def __post_init__(self) -> None:
        if self.flow_source not in FLOW_SOURCES:
            raise OptionError(f"flow_source={self.flow_source!r} is unknown: choose from {', '.join(FLOW_SOURCES)}")

    def needs(self, need: str) -> bool:
        """Return whether a metric needs something beside the result."""
        return any(need in metric.needs for metric in self.metrics)

    def reads_lq(self, *, gt: bool) -> bool:
        """Return whether the low-quality frames are looked at, of a clip with or without a ground truth."""
        return self.needs("lq") or not gt or (self.needs("flow") and self.flow_source == "lq")

    def check(self, name: str, *, gt: bool, lq: bool) -> None:
        """Refuse a clip that lacks what metrics need.

        Raises:
            OptionError: it does; the message names the metric.
        """
        has_flow = {"auto": gt or lq, "gt": gt, "lq": lq, "hq": True}[self.flow_source]
        for metric in self.metrics:
            for need, there in (("gt", gt), ("lq", lq), ("flow", has_flow)):
                if need in metric.needs and not there:
                    source = self.flow_source if need == "flow" and self.flow_source != "auto" else need
                    raise OptionError(
                        f"the metric {metric.name} needs {_NEEDS[source]} and {name} has none: leave it out"
                        + (', or take flow_source="hq"' if need == "flow" else "")
                    )

    def protocol(self) -> dict[str, object]:
        """Return what has to be known beside the values."""
        told: dict[str, object] = {"metrics": {m.name: m.protocol for m in self.metrics}, "crop_px": self.crop_px}
        if self.needs("flow") or self.needs("motion"):
            sources = {
                "auto": "the ground truth (without one, of the input enlarged)",
                "gt": "the ground truth",
                "lq": "the input enlarged",
                "hq": "the result itself",
            }
            told["flow"] = f"{self.flow.name}, of {sources[self.flow_source]}"
        weights = {metric.name: metric.weights for metric in self.metrics if metric.weights}
        return told | ({"weights": weights} if weights else {})

    def __call__(self, sets: Iterator[FrameSet], *, ahead: bool = False) -> Iterator[FrameSet]:
        """Cut the borders off, estimate flow where it is needed, and leave away what is not.

        Args:
            sets: a clip; read once.
            ahead: read one frame ahead and estimate its flow while metrics look at the one before. Not for clips that
                are computed as they are read, whose time is measured.
        """
        before: FrameSet | None = None
        guide_before: ByteArray | None = None
        waiting: Callable[[], FrameSet] | None = None
        with flow_pairs(self.flow) as flows:
            for frame in sets:
                now = FrameSet(
                    _inner(frame.hq, self.crop_px),
                    None if frame.ground_truth is None else _inner(frame.ground_truth, self.crop_px),
                    _inner_lq(frame, self.crop_px) if self.needs("lq") else None,
                )
                guide = self._guide(frame, now) if self.needs("flow") else None
                prepared = self._begun(before, now, guide_before, guide, flows)
                if waiting is not None:
                    yield waiting()
                if not ahead:
                    yield prepared()
                waiting = prepared if ahead else None
                before, guide_before = now if self.needs("motion") else None, guide
            if waiting is not None:
                yield waiting()

    def _begun(
        self,
        before: FrameSet | None,
        now: FrameSet,
        guide_before: ByteArray | None,
        guide: ByteArray | None,
        flows: FlowPairs,
    ) -> Callable[[], FrameSet]:
        """Begin to estimate the flow of a frame; calling what is returned waits for it."""
        pair = motion = None
        if guide is not None and guide_before is not None:
            pair = flows.begin((guide_before, guide), (guide, guide_before))
        if before is not None and self.needs("motion"):
            is_known = pair is not None and self.flow_source in ("auto", "gt")  # of the ground truth, to the one before
            gts = () if is_known else ((now.gt, before.gt),)
            motion = flows.begin((now.hq, before.hq), *gts)

        def finish() -> FrameSet:
            both = None if pair is None else FlowPair(*pair())
            moved = None if motion is None else motion()
            gt_motion = [both.backward] if both is not None else []
            measured = None if moved is None else MotionPair(*[*moved, *gt_motion][:2])
            return FrameSet(now.hq, now.ground_truth, now.low_quality, both, measured)

        return finish

    def _guide(self, frame: FrameSet, inner: FrameSet) -> ByteArray:
        """Return the frame that flow is estimated from."""
        if self.flow_source == "hq":
            return inner.hq
        if self.flow_source != "lq" and inner.ground_truth is not None:
            return inner.ground_truth
        return _inner(_enlarged(frame), self.crop_px)


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
    """Return the input at the size of the result, bicubic."""
    height, width = frame.hq.shape[:2]
    large = enlarge(to_unit(frame.lq[None], 8)[None], height, width, "bicubic")
    return from_unit(large[0], 8)[0].astype(np.uint8, copy=False)
