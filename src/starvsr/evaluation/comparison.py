"""Two or more methods against each other, clip by clip; and reports of several runs in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from starvsr.errors import InputError
from starvsr.evaluation.record import Report, number
from starvsr.evaluation.statistics import Difference, paired_difference
from starvsr.metrics.metric import MetricFacts

SIGNIFICANT = 0.05
"""Probability below which two methods are told apart."""


@dataclass(frozen=True)
class PairedTest:
    """A metric of two methods, clip by clip.

    Attributes:
        metric: What was measured.
        first: Name of a method.
        second: Name of the other one; differences are first minus second.
        difference: Mean difference, its interval and the test.
    """

    metric: MetricFacts
    first: str
    second: str
    difference: Difference

    @property
    def better(self) -> str | None:
        """The better method where the test tells them apart (p < 0.05); None elsewhere."""
        p_value = self.difference.p_value
        if p_value is None or p_value >= SIGNIFICANT or self.metric.best is not None:
            return None
        return self.first if (self.difference.mean > 0) == self.metric.higher_is_better else self.second

    def tree(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        kept = asdict(self.difference) | {"mean": number(self.difference.mean)}
        return {"metric": self.metric.name, "first": self.first, "second": self.second, "better": self.better} | kept


def paired_tests(report: Report) -> list[PairedTest]:
    """Compare each two methods by each metric, over the clips of all data sets that both have."""
    tests = [
        PairedTest(metric, a, b, paired_difference(*report.paired(a, b, metric.name), report.seed))
        for a, b in combinations(report.methods(), 2)
        for metric in report.metrics
    ]
    return [test for test in tests if test.difference.num_clips]


def merge_reports(reports: Sequence[tuple[str, Report]]) -> Report:
    """Put the reports of several runs into one.

    Methods of one name in two reports are told apart by the reports' names.

    Args:
        reports: (name, report).

    Raises:
        InputError: a metric was measured in two ways, or a clip against two references: their values must not be
            compared.
    """
    merged = Report(protocol=dict(reports[0][1].protocol), seed=reports[0][1].seed)
    for name, report in reports:
        _refuse_other_protocol(reports[0], (name, report))
        taken = set(merged.methods())
        for score in report.scores:
            method = f"{name} {score.method}" if score.method in taken else score.method
            merged.scores.append(replace(score, method=method))
        known = {metric.name for metric in merged.metrics}
        merged.metrics += [metric for metric in report.metrics if metric.name not in known]
        merged.missing += [absent for absent in report.missing if absent not in merged.missing]
    measured = {metric.name for metric in merged.metrics}
    merged.missing = [absent for absent in merged.missing if absent.metric not in measured]
    _refuse_other_references(merged)
    return merged


def report_name(path: Path) -> str:
    """Return what a report is called: its folder's name."""
    return path.absolute().parent.name if path.suffix.lower() == ".json" else path.absolute().name


def tests_rows(tests: Sequence[PairedTest]) -> list[list[str]]:
    """Return the cells of a table of paired tests, header first."""
    rows = [["metric", "methods", "difference", "95 % interval", "p", "clips"]]
    for test in tests:
        found, text = test.difference, test.metric.text
        interval = f"{text(found.low)} to {text(found.high)}" if found.low is not None else "-"
        p_value = "-" if found.p_value is None else f"{found.p_value:.3f}"
        pair = f"{test.first} - {test.second}"
        rows.append([test.metric.name, pair, text(found.mean), interval, p_value, str(found.num_clips)])
    return rows


def _refuse_other_protocol(one: tuple[str, Report], other: tuple[str, Report]) -> None:
    a, b = one[1].protocol, other[1].protocol
    for key in ("crop_px", "flow"):
        if key in a and key in b and a[key] != b[key]:
            raise InputError(
                f"{one[0]} and {other[0]} differ in {key} ({a[key]} and {b[key]}): evaluate both in one way"
            )
    theirs = {metric.name: metric for metric in other[1].metrics}
    for metric in one[1].metrics:
        twin = theirs.get(metric.name, metric)
        if (twin.protocol, twin.weights) != (metric.protocol, metric.weights):
            raise InputError(f"{one[0]} and {other[0]} measured {metric.name} in two ways: evaluate both in one way")


def _refuse_other_references(report: Report) -> None:
    seen: dict[tuple[str, str], str] = {}
    for score in report.scores:
        digest = score.files.get("reference", {}).get("sha256")
        if digest is None:
            continue
        if seen.setdefault((score.data_set, score.clip), digest) != digest:
            raise InputError(
                f"{score.clip} of {score.data_set} was scored against two references: evaluate both results with one"
            )
