"""What is measured on a result beside its input, and what of it marks a clip for review."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starvsr.apps.batch.settings import REPORT, Bound
from starvsr.errors import OptionError

if TYPE_CHECKING:
    from starvsr.jobs.job import Job


def metric_names(wanted: Sequence[str], bounds: Sequence[Bound]) -> tuple[str, ...]:
    """Return the metrics to measure: those that were named, and those that have a bound.

    Args:
        wanted: Names; "report" stands for what `starvsr upscale --report` measures.
        bounds: What marks clips for review.
    """
    names: list[str] = []
    for name in wanted:
        if name == REPORT:
            from starvsr.evaluation.job_report import METRICS

            names += METRICS
        else:
            names.append(name)
    return tuple(dict.fromkeys([*names, *(bound.metric for bound in bounds)]))


def check_metrics(names: Sequence[str], bounds: Sequence[Bound]) -> None:
    """Refuse metrics that cannot be measured here, and bounds on their good side. Loads torch.

    Raises:
        OptionError: A metric is unknown, needs a ground truth, or lacks a package; or a bound is on the wrong side.
    """
    from starvsr.evaluation.metric_choice import choose_for
    from starvsr.metrics.registry import metric_by_name

    for bound in bounds:
        metric = metric_by_name(bound.metric)
        if metric.best is None and metric.higher_is_better != (bound.side == "min"):
            better, other = ("higher", "min") if metric.higher_is_better else ("lower", "max")
            raise OptionError(f"--{bound.side} {bound.metric}: {better} is better: did you mean --{other}?")
    if names:
        missing = choose_for(list(names), has_gt=False, has_lq=True)[1]
        if missing:
            raise OptionError(f"the metric {missing[0].metric} cannot be measured: {missing[0].reason}")


def measure_result(job: Job, names: Sequence[str], device: str) -> dict[str, float | None]:
    """Measure the result of a finished job beside its input.

    Args:
        job: The job.
        names: Of metrics.
        device: Where networks of metrics compute.

    Returns:
        The value of each metric, infinite for a perfect one of some; None where it has none for this clip.

    Raises:
        StarVsrError: Input or result cannot be read.
    """
    from starvsr.evaluation.clip_source import ClipSource
    from starvsr.evaluation.job_report import JobInput, job_borders
    from starvsr.evaluation.run import EvaluationOptions, evaluate_results
    from starvsr.video.untrusted.limits import OWN_FILES

    evaluation = evaluate_results(
        [(job.upscaler.name, ClipSource(job.out.stem, job.out, OWN_FILES))],
        lq=JobInput(job.info.path.stem, job.info.path, job=job),
        borders=job_borders(job),
        options=EvaluationOptions(metrics=names, device=device),
    )
    values = {name: evaluation.report.scores[0].value(name) for name in names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def reviews(figures: dict[str, float | None], bounds: Sequence[Bound]) -> list[str]:
    """Say which bounds the figures break."""
    broken = (bound.broken_by(figures.get(bound.metric)) for bound in bounds)
    return [reason for reason in broken if reason is not None]
