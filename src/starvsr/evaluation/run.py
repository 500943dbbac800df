"""Evaluate results: pair, check everything, then score clip after clip in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starvsr.errors import InputError, OptionError, StarVsrError
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.file_checks import check_files
from starvsr.evaluation.guarded import MissingMetric
from starvsr.evaluation.metric_choice import choose_for
from starvsr.evaluation.pairing import ClipTrio, find_clips, pair_clips
from starvsr.evaluation.protocol import protocol_of
from starvsr.evaluation.record import ClipScore, Report
from starvsr.evaluation.result_survey import Borders, ResultSurvey
from starvsr.evaluation.scoring import Measuring, score_clip
from starvsr.evaluation.survey import Survey, survey
from starvsr.metrics.dover.scores import DRAWS
from starvsr.metrics.flow_choice import FlowName, FlowSource, choose_flow
from starvsr.metrics.metric import Metric, MetricFacts
from starvsr.models.flow.estimator import FlowEstimator

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
        flow: Estimates optical flow: "dis", "dis-fast", "farneback" or "raft".
        flow_source: From which clip; see :data:`starvsr.metrics.flow_choice.FlowSource`.
        dover_draws: How many random draws of frames and fragments DOVER's scores are averaged over.
    """

    metrics: Sequence[str] | None = None
    crop_px: int = 0
    data_set: str | None = None
    allow_shift: bool = False
    device: str = "cpu"
    seed: int = 0
    flow: FlowName = "dis"
    flow_source: FlowSource = "auto"
    dover_draws: int = DRAWS


@dataclass(frozen=True)
class Evaluation:
    """A report, and the clips that it is about (for pictures and previews)."""

    report: Report
    clips: dict[tuple[str, str], ClipTrio] = field(default_factory=dict)
    """By (method, clip)."""
    surveys: dict[tuple[str, str], ResultSurvey] = field(default_factory=dict)
    """Of results that were compared with their input alone, by (method, clip)."""


def evaluate_results(
    results: Sequence[tuple[str, Path | ClipSource]],
    *,
    reference: Path | None = None,
    lq: Path | ClipSource | None = None,
    borders: Borders | None = None,
    options: EvaluationOptions | None = None,
    on_step: OnStep = lambda line: None,
) -> Evaluation:
    """Score results of one or several methods.

    Everything is checked before the first clip is scored.

    Args:
        results: (name of the method, file or folder, or one clip).
        reference: file or folder of the ground truth.
        lq: file or folder of the low-quality input, or the one clip that it is.
        borders: where the one clip was cut into segments and tiles, if that is known.
        options: how to evaluate.
        on_step: told what is done.

    Raises:
        InputError: clips have no partner, cannot be read, or must not be compared.
        OptionError: a metric is unknown, or none can be computed.
    """
    options = options or EvaluationOptions()
    _choose(options, has_gt=reference is not None, has_lq=lq is not None)
    _refuse_same_names([name for name, _ in results])
    gts = find_clips(reference) if reference is not None else None
    lqs = _clips(lq) if lq is not None else None
    trios = [(method, trio) for method, path in results for trio in pair_clips(_clips(path), gts, lqs)]
    data_set = options.data_set or _data_set_name(
        reference or (lq.path if isinstance(lq, ClipSource) else lq) or results[0][1]
    )
    return evaluate_clips(trios, data_set, options, on_step, borders=borders)


def evaluate_clips(
    trios: Sequence[tuple[str, ClipTrio]],
    data_set: str,
    options: EvaluationOptions,
    on_step: OnStep = lambda line: None,
    *,
    borders: Borders | None = None,
) -> Evaluation:
    """Score clips that are paired already; see `evaluate_results`.

    Args:
        trios: (name of the method, clip); either all have a reference, or none, and the same for inputs.
        data_set: name of the data set.
        options: how to evaluate.
        on_step: told what is done.
        borders: where the one clip was cut into segments and tiles, if that is known.
    """
    has_gt, has_lq = (all(getattr(trio, side) is not None for _, trio in trios) for side in ("gt", "lq"))
    metrics, missing = _choose(options, has_gt=has_gt, has_lq=has_lq)
    _refuse_small(trios, options.crop_px)
    warnings = [check_files(trio) for _, trio in trios]
    surveys = []
    for place, (method, trio) in enumerate(trios):
        on_step(f"checking {trio.name} of {method} ({place + 1} of {len(trios)})")
        surveys.append(survey(trio, allow_shift=options.allow_shift))
    flow, metrics = _flow(options, metrics, missing)
    measuring = Measuring(options.crop_px, flow, options.flow_source, options.device)
    protocol = protocol_of(metrics, measuring, allow_shift=options.allow_shift)
    report = Report(protocol=protocol, missing=missing, seed=options.seed)
    digests: dict[Path, dict[str, Any]] = {}
    result_surveys: dict[tuple[str, str], ResultSurvey] = {}
    for place, ((method, trio), found, remarks) in enumerate(zip(trios, surveys, warnings, strict=True)):
        on_step(f"scoring {trio.name} of {method} ({place + 1} of {len(trios)}, frames: {found.num_frames})")
        watch = ResultSurvey(borders) if trio.gt is None and trio.lq is not None else None
        frames, absent = score_clip(trio, metrics, measuring, [] if watch is None else [watch.metric])
        if watch is not None:
            result_surveys[method, trio.name] = watch
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
            survey={} if watch is None else watch.tree(),
        )
        report.scores.append(score)
    settle(report, [metric.facts() for metric in metrics])
    return Evaluation(report, {(method, trio.name): trio for method, trio in trios}, result_surveys)


def _choose(options: EvaluationOptions, *, has_gt: bool, has_lq: bool) -> tuple[list[Metric], list[MissingMetric]]:
    return choose_for(
        options.metrics,
        has_gt=has_gt,
        has_lq=has_lq,
        flow_source=options.flow_source,
        dover_draws=options.dover_draws,
    )


def _flow(
    options: EvaluationOptions, metrics: list[Metric], missing: list[MissingMetric]
) -> tuple[FlowEstimator, list[Metric]]:
    """Load the estimator of flow; where that fails, the metrics that need it are missing."""
    moving = [metric for metric in metrics if metric.needs & {"flow", "motion"}]
    if not moving:
        return choose_flow(None), metrics
    try:
        return choose_flow(options.flow, options.device), metrics
    except StarVsrError as error:
        missing += [MissingMetric(metric.name, " ".join(str(error).split())) for metric in moving]
        return choose_flow(None), [metric for metric in metrics if metric not in moving]


def settle(report: Report, metrics: Iterable[MetricFacts]) -> None:
    """List the metrics that have a value on some clip, and put the others among the missing ones."""
    for metric in metrics:
        if any(metric.name in score.frames for score in report.scores):
            report.metrics.append(metric)
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


def _clips(word: Path | ClipSource) -> list[ClipSource]:
    return [word] if isinstance(word, ClipSource) else find_clips(word)


def _data_set_name(word: Path | ClipSource) -> str:
    """Name a data set after the folder of its reference; a folder called GT after the one above."""
    path = word.path if isinstance(word, ClipSource) else word
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
