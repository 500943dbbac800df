"""One clip measured by all metrics in one pass; those that fail are missing, the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from starvsr.errors import StarVsrError
from starvsr.evaluation.guarded import Guard, MissingMetric
from starvsr.evaluation.pairing import ClipTrio
from starvsr.metrics.evaluate import measure
from starvsr.metrics.flow_choice import FlowSource, estimate_flow
from starvsr.metrics.frame_sets import Preparing
from starvsr.metrics.metric import Metric
from starvsr.models.flow.estimator import FlowEstimator

_FLOW_TRIAL_PX = 64
_NO_VALUE = (
    "no frame of the clip has a value (metrics of change need two frames, those of stillness parts that are still)"
)


@dataclass(frozen=True)
class Measuring:
    """How all clips are measured.

    Attributes:
        crop_px: Pixels cut from each border.
        flow: Estimates optical flow.
        flow_source: From which clip.
        device: Where networks of metrics compute.
    """

    crop_px: int
    flow: FlowEstimator
    flow_source: FlowSource
    device: str


def score_clip(
    trio: ClipTrio, metrics: Sequence[Metric], measuring: Measuring, watching: Sequence[Metric] = ()
) -> tuple[dict[str, list[float]], list[MissingMetric]]:
    """Measure a clip.

    Args:
        trio: the clip.
        metrics: what is measured.
        measuring: how.
        watching: what else is shown the frames; their values, and why there are none, are dropped.

    Returns:
        metric name to a value for each frame (NaN for frames without one of their own), and the metrics without any.
    """
    guard = Guard()
    guard.missing += _hindered(trio, metrics, measuring.crop_px, measuring.flow)
    hindered = {absent.metric for absent in guard.missing}
    able = [metric for metric in metrics if metric.name not in hindered]
    able += [metric for metric in watching if measuring.crop_px == 0]
    if not able:
        return {}, guard.missing
    preparing = Preparing(able, measuring.crop_px, measuring.flow, measuring.flow_source)
    values = measure(
        trio.hq,
        trio.gt,
        lq=trio.lq if preparing.reads_lq(gt=trio.gt is not None) else None,
        metrics=guard.wrap(able),
        crop_px=measuring.crop_px,
        flow=measuring.flow,
        flow_source=measuring.flow_source,
        device=measuring.device,
    )
    watched = {metric.name for metric in watching}
    guard.missing = [absent for absent in guard.missing if absent.metric not in watched]
    failed = {absent.metric for absent in guard.missing} | watched
    kept = {name: found.tolist() for name, found in values.items() if name not in failed}
    empty = [name for name, found in kept.items() if np.isnan(found).all()]
    guard.missing += [MissingMetric(name, _NO_VALUE) for name in empty]
    return {name: found for name, found in kept.items() if name not in empty}, guard.missing


def _hindered(trio: ClipTrio, metrics: Sequence[Metric], crop_px: int, flow: FlowEstimator) -> list[MissingMetric]:
    """Name the metrics for which the frames of this clip cannot be prepared."""
    missing = []
    scale = 1 if trio.lq is None else max(1, trio.hq.info.width // trio.lq.info.width)
    for metric in metrics:
        if "lq" in metric.needs and crop_px % scale:
            reason = f"needs --crop-px to be a multiple of {scale}, the scale of the input"
            missing.append(MissingMetric(metric.name, reason))
    moving = [metric for metric in metrics if metric.needs & {"flow", "motion"}]
    trouble = _flow_trouble(trio, flow, crop_px) if moving else None
    return missing + [MissingMetric(metric.name, trouble) for metric in moving if trouble is not None]


def _flow_trouble(trio: ClipTrio, flow: FlowEstimator, crop_px: int) -> str | None:
    """Say why flow cannot be estimated here; None when it can."""
    info = trio.hq.info
    sides = [min(side - 2 * crop_px, _FLOW_TRIAL_PX) for side in (info.height, info.width)]
    frame = np.zeros((*sides, 3), np.uint8)
    try:
        estimate_flow(frame, frame, flow)
    except StarVsrError as error:
        return " ".join(str(error).split())
    return None
