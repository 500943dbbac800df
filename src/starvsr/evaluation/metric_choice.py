"""Which metrics an evaluation computes, and which are missing before a clip is read."""

from __future__ import annotations

from collections.abc import Sequence

from starvsr.errors import OptionError
from starvsr.evaluation.guarded import MissingMetric
from starvsr.metrics.dover.metrics import with_draws
from starvsr.metrics.dover.scores import DRAWS
from starvsr.metrics.flow_choice import FlowSource
from starvsr.metrics.metric import Metric
from starvsr.metrics.registry import DEFAULT_METRICS, METRICS, available, choose_metrics

_REFERENCE, _INPUT = "a reference (--reference)", "the low-quality input (--lq)"


def choose_for(
    names: Sequence[str] | None,
    *,
    has_gt: bool,
    has_lq: bool,
    flow_source: FlowSource = "auto",
    dover_draws: int = DRAWS,
) -> tuple[list[Metric], list[MissingMetric]]:
    """Choose the metrics to compute, and name those that lack what they need.

    Args:
        names: names of metrics, or "all" alone; None for the usual ones, and without a reference for those that need
            none.
        has_gt: whether there is a reference.
        has_lq: whether there is the low-quality input.
        flow_source: what optical flow is estimated from.
        dover_draws: how many random draws of frames and fragments DOVER's scores are averaged over.

    Raises:
        OptionError: a name is unknown, no metric can be computed, or `dover_draws` is below 1.
    """

    def lacks(metric: Metric) -> str | None:
        return unmet_need(metric, has_gt=has_gt, has_lq=has_lq, flow_source=flow_source)

    if names is None and has_gt:
        wanted = list(DEFAULT_METRICS)
    elif names is None:
        alone = [metric for metric in METRICS if lacks(metric) is None]
        wanted = alone + [metric for metric in DEFAULT_METRICS if metric not in alone]
    else:
        wanted = list(METRICS) if list(names) == ["all"] else choose_metrics(names)
    wanted = [with_draws(metric, dover_draws) for metric in wanted]
    needs = {metric.name: lacks(metric) for metric in wanted}
    able = available([metric for metric in wanted if needs[metric.name] is None])
    reasons = {metric.name: needs[metric.name] or able.missing.get(metric.name) for metric in wanted}
    missing = [MissingMetric(name, " ".join(why.split())) for name, why in reasons.items() if why is not None]
    if not able.usable:
        told = [one.reason if one.metric in one.reason else f"{one.metric} {one.reason}" for one in missing]
        listed = "; ".join(told)
        raise OptionError(f"no metric can be computed: {listed}")
    return able.usable, missing


def unmet_need(metric: Metric, *, has_gt: bool, has_lq: bool, flow_source: FlowSource = "auto") -> str | None:
    """Say what a metric needs and is not given; None when it has all."""
    flows = {
        "auto": (has_gt or has_lq, f"{_REFERENCE} or {_INPUT}, or flow of the result itself (--flow-source hq)"),
        "gt": (has_gt, _REFERENCE),
        "lq": (has_lq, _INPUT),
        "hq": (True, ""),
    }
    given = {
        "gt": (has_gt, _REFERENCE),
        "motion": (has_gt, _REFERENCE),
        "lq": (has_lq, _INPUT),
        "flow": flows[flow_source],
    }
    lacking = [given[need][1] for need in ("gt", "motion", "lq", "flow") if need in metric.needs and not given[need][0]]
    return f"needs {lacking[0]}" if lacking else None
