"""Limits that a mean must keep, for batch jobs: `--min METRIC=VALUE` and `--max METRIC=VALUE`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from starvsr.errors import OptionError
from starvsr.evaluation.record import Report
from starvsr.metrics.registry import metric_by_name


@dataclass(frozen=True)
class Gate:
    """A limit of the mean of a metric over clips.

    Attributes:
        kind: "min" or "max".
        metric: Its name.
        limit: What the mean may not fall below or exceed.
    """

    kind: Literal["min", "max"]
    metric: str
    limit: float

    @classmethod
    def parse(cls, kind: Literal["min", "max"], text: str) -> Gate:
        """Read ``METRIC=VALUE``.

        Raises:
            OptionError: it is none, or the metric is unknown.
        """
        name, _, value = text.partition("=")
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not name or math.isnan(limit):
            raise OptionError(f"--{kind} {text}: must read METRIC=VALUE, for example --{kind} psnr_y_db=25")
        try:
            metric_by_name(name)
        except OptionError as error:
            raise OptionError(f"--{kind} {text}: {error}") from None
        return cls(kind, name, limit)

    def failures(self, report: Report) -> list[str]:
        """Say which methods do not keep the limit, one sentence each; a missing value does not keep it."""
        return [line for method in report.methods() if (line := self._failure(report, method)) is not None]

    def _failure(self, report: Report, method: str) -> str | None:
        mean = report.summary(method, self.metric).mean
        if math.isnan(mean):
            return f"{self.metric} of {method} is missing, and --{self.kind} asks for {self.limit:g}"
        if (mean >= self.limit) if self.kind == "min" else (mean <= self.limit):
            return None
        metric = next(metric for metric in report.metrics if metric.name == self.metric)
        side = "below" if self.kind == "min" else "above"
        digits = metric.digits + 3  # so that a near miss does not read like the limit
        unit = f" {metric.unit}" if metric.unit else ""
        return f"{self.metric} of {method} is {mean:.{digits}g}{unit}, {side} the {self.limit:g} of --{self.kind}"


def failures(gates: Sequence[Gate], report: Report) -> list[str]:
    """Say which limits are not kept."""
    return [line for gate in gates for line in gate.failures(report)]
