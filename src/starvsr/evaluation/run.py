"""Evaluate results: pair, check everything, then score clip after clip in constant memory."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from starvsr.errors import InputError, OptionError, StarVsrError
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.file_checks import check_files
from starvsr.evaluation.guarded import Guard, MissingMetric, unmet_need
from starvsr.evaluation.pairing import ClipTrio, find_clips, pair_clips
from starvsr.evaluation.record import ClipScore, MetricRecord, Report
from starvsr.evaluation.survey import Survey, survey
from starvsr.metrics.evaluate import measure
from starvsr.metrics.metric import Metric
from starvsr.metrics.registry import DEFAULT_METRICS, METRICS, choose_metrics
from starvsr.metrics.temporal import estimate_flows
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.version import __version__

_LIBRARIES = ("numpy", "torch", "av", "opencv-python-headless", "imageio-ffmpeg", "pillow")
_FLOW_TRIAL_PX = 64
_NO_VALUE = "no frame has a value of its own (metrics of change need two frames)"

OnStep = Callable[[str], None]
"""Called with what is done next, one line."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How results are evaluated.

    Attributes:
        metrics: Names of :mod:`starvsr.metrics.registry`; "all" for every one. None takes the usual ones, and without
            a reference those that need none.
        crop_px: Pixels cut from each border before any metric.
        data_set: What tables call the clips together; None takes the name of the reference's folder.
        allow_shift: Score results that are shifted by half a pixel or a frame, with a warning.
        device: Where networks of metrics compute.
        seed: Of intervals and tests.
        flow: Estimates optical flow; None for DIS.
    """

    metrics: Sequence[str] | None = None
    crop_px: int = 0
    data_set: str | None = None
    allow_shift: bool = False
    device: str = "cpu"
    seed: int = 0
    flow: FlowEstimator | None = None


@dataclass(frozen=True)
class Evaluation:
    """A report, and the clips that it is about (for pictures and previews)."""

    report: Report
    clips: dict[tuple[str, str], ClipTrio] = field(default_factory=dict)
    """By (method, clip)."""


def evaluate_results(
    results: Sequence[tuple[str, Path]],
    *,
    reference: Path | None = None,
    lq: Path | None = None,
    options: EvaluationOptions | None = None,
    on_step: OnStep = lambda line: None,
) -> Evaluation:
    """Score results of one or several methods.

    Everything is checked before the first clip is scored.

    Args:
        results: (name of the method, file or folder).
        reference: file or folder of the ground truth.
        lq: file or folder of the low-quality input.
        options: how to evaluate.
        on_step: told what is done.

    Raises:
        InputError: clips have no partner, cannot be read, or must not be compared.
        OptionError: a metric is unknown, or none can be computed.
    """
    options = options or EvaluationOptions()
    metrics, missing = _wanted(options.metrics, has_gt=reference is not None, has_lq=lq is not None)
    _refuse_same_names([name for name, _ in results])
    gts = find_clips(reference) if reference is not None else None
    lqs = find_clips(lq) if lq is not None else None
    trios = [(method, trio) for method, path in results for trio in pair_clips(find_clips(path), gts, lqs)]
    _refuse_small(trios, options.crop_px)
    warnings = [check_files(trio) for _, trio in trios]
    surveys = []
    for place, (method, trio) in enumerate(trios):
        on_step(f"checking {trio.name} of {method} ({place + 1} of {len(trios)})")
        surveys.append(survey(trio, allow_shift=options.allow_shift))
    flow = options.flow or DisFlow()
    data_set = options.data_set or _data_set_name(reference or lq or results[0][1])
    report = Report(protocol=_protocol(options, metrics, flow), missing=missing, seed=options.seed)
    digests: dict[Path, dict[str, Any]] = {}
    for place, ((method, trio), found, remarks) in enumerate(zip(trios, surveys, warnings, strict=True)):
        on_step(f"scoring {trio.name} of {method} ({place + 1} of {len(trios)}, frames: {found.num_frames})")
        frames, absent = _score(trio, metrics, flow, options)
        score = ClipScore(
            data_set=data_set,
            clip=trio.name,
            method=method,
            frames=frames,
            num_frames=found.num_frames,
            frame_rate=str(trio.hq.frame_rate),
            files=_file_records(trio, digests),
            alignment=found.alignment() if trio.gt is not None else {},
            times=found.times,
            warnings=remarks + found.warnings + _equality(trio.name, found, frames),
            missing=absent,
        )
        report.scores.append(score)
    _settle(report, metrics)
    return Evaluation(report, {(method, trio.name): trio for method, trio in trios})


def _wanted(names: Sequence[str] | None, *, has_gt: bool, has_lq: bool) -> tuple[list[Metric], list[MissingMetric]]:
    """Return the metrics to compute, and those that lack what they need."""
    if names is None and has_gt:
        chosen = list(DEFAULT_METRICS)
    elif names is None:
        alone = [metric for metric in METRICS if unmet_need(metric, has_gt=False, has_lq=has_lq) is None]
        chosen = alone + [metric for metric in DEFAULT_METRICS if metric not in alone]
    else:
        chosen = list(METRICS) if list(names) == ["all"] else choose_metrics(names)
    needs = {metric.name: unmet_need(metric, has_gt=has_gt, has_lq=has_lq) for metric in chosen}
    able = [metric for metric in chosen if needs[metric.name] is None]
    missing = [MissingMetric(name, why) for name, why in needs.items() if why is not None]
    if not able:
        reasons = "; ".join(f"{absent.metric} {absent.reason}" for absent in missing)
        raise OptionError(f"no metric can be computed: {reasons}")
    return able, missing


def _score(
    trio: ClipTrio, metrics: Sequence[Metric], flow: FlowEstimator, options: EvaluationOptions
) -> tuple[dict[str, list[float]], list[MissingMetric]]:
    """Measure a clip; return values and what is missing."""
    guard = Guard()
    if any("flow" in metric.needs for metric in metrics):
        trouble = _flow_trouble(trio.hq, flow, options.crop_px)
        guard.missing += [MissingMetric(m.name, trouble) for m in metrics if trouble and "flow" in m.needs]
        metrics = [metric for metric in metrics if not (trouble and "flow" in metric.needs)]
    needs = {need for metric in metrics for need in metric.needs}
    guided_by_lq = "lq" in needs or ("flow" in needs and trio.gt is None)
    values = measure(
        trio.hq,
        trio.gt,
        lq=trio.lq if guided_by_lq else None,
        metrics=guard.wrap(metrics),
        crop_px=options.crop_px,
        flow=flow,
        device=options.device,
    )
    failed = {absent.metric for absent in guard.missing}
    kept = {name: found.tolist() for name, found in values.items() if name not in failed}
    empty = [name for name, found in kept.items() if np.isnan(found).all()]
    guard.missing += [MissingMetric(name, _NO_VALUE) for name in empty]
    return {name: found for name, found in kept.items() if name not in empty}, guard.missing


def _flow_trouble(hq: ClipSource, flow: FlowEstimator, crop_px: int) -> str | None:
    """Say why flow cannot be estimated here; None when it can."""
    sides = [min(side - 2 * crop_px, _FLOW_TRIAL_PX) for side in (hq.info.height, hq.info.width)]
    frame = np.zeros((*sides, 3), np.uint8)
    try:
        estimate_flows(frame, frame, flow)
    except StarVsrError as error:
        return str(error)
    return None


def _settle(report: Report, metrics: Iterable[Metric]) -> None:
    """Put metrics without any value among the missing ones."""
    for metric in metrics:
        if any(metric.name in score.frames for score in report.scores):
            report.metrics.append(MetricRecord.of(metric))
            continue
        reasons = [a.reason for score in report.scores for a in score.missing if a.metric == metric.name]
        report.missing.append(MissingMetric(metric.name, "; ".join(dict.fromkeys(reasons))))


def _equality(name: str, found: Survey, frames: dict[str, list[float]]) -> list[str]:
    """Say that a result is its reference, which an infinite PSNR of every frame tells."""
    endless = any(all(value == float("inf") for value in values) for key, values in frames.items() if "psnr" in key)
    return [f"{name}: the result equals the reference in all frames ({found.num_frames})"] if endless else []


def _refuse_small(trios: Sequence[tuple[str, ClipTrio]], crop_px: int) -> None:
    for _, trio in trios:
        width, height = trio.hq.info.width, trio.hq.info.height
        if crop_px < 0 or 2 * crop_px >= min(width, height):
            raise OptionError(f"--crop-px {crop_px} leaves nothing of {trio.name} ({width}x{height}): give less")


def _refuse_same_names(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two results are called {twice}: give each a name of its own with --name")


def _data_set_name(path: Path) -> str:
    """Name a data set after the folder of its reference; a folder called GT after the one above."""
    absolute = path.absolute()
    folder = absolute if path.is_dir() else absolute.parent
    is_side = folder.name.lower() in ("gt", "hr", "hq", "lq", "lr", "gt-video", "lq-video", "reference")
    return (folder.parent if is_side else folder).name or "clips"


def _file_records(trio: ClipTrio, known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    sides = (("result", trio.hq), ("reference", trio.gt), ("lq", trio.lq))
    records = {}
    for side, clip in sides:
        if clip is not None:
            records[side] = known[clip.path] if clip.path in known else known.setdefault(clip.path, clip.record())
    return records


def _protocol(options: EvaluationOptions, metrics: Sequence[Metric], flow: FlowEstimator) -> dict[str, Any]:
    protocol: dict[str, Any] = {
        "frames": "all, in presentation order, 8-bit RGB (more bits rounded)",
        "crop_px": options.crop_px,
        "means": "over frames, then over clips",
        "intervals": "95 %, percentile bootstrap over clips, 10000 draws",
        "shift_allowed": options.allow_shift,
        "metrics": {metric.name: metric.protocol for metric in metrics},
        "weights": {metric.name: metric.weights for metric in metrics if metric.weights},
    }
    if any("flow" in metric.needs for metric in metrics):
        protocol["flow"] = f"{flow.name}, of the reference (without one, of the input enlarged)"
    versions = {"starvsr": __version__, "python": platform.python_version()}
    versions |= {name: version for name in _LIBRARIES if (version := _version(name)) is not None}
    return protocol | {"device": options.device, "versions": versions}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
