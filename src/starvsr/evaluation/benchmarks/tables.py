"""The table of a benchmark: what was measured here, and beside it, marked as such, what papers publish."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starvsr.evaluation.benchmarks.published import PublishedColumn, row_of
from starvsr.evaluation.record import Report, number
from starvsr.evaluation.statistics import Summary
from starvsr.evaluation.tables import best_of, interval_text, latex_text, markdown
from starvsr.metrics.metric import MetricFacts

NOT_COMPARABLE = (
    "Columns marked [1], [2], ... are as published, not measured here: other clips, degradations and protocols; they "
    "do not compare with the others."
)


@dataclass(frozen=True)
class BenchmarkTable:
    """What is measured, and what is published.

    Attributes:
        report: The scores.
        data_set: What the report calls the data set.
        published: Columns of papers.
        notes: Sentences on what was scored.
        failures: What could not be made or scored, a sentence each.
    """

    report: Report
    data_set: str
    published: Sequence[PublishedColumn] = ()
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    _rows: dict[str, dict[int, float]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Sort published values into rows."""
        measured = [metric.name for metric in self.report.metrics]
        for place, column in enumerate(self.published):
            for name, value in column.values.items():
                self._rows.setdefault(row_of(name, measured) or name, {})[place] = value

    @property
    def sources(self) -> list[str]:
        """The sources of published columns, each once, in the order of their marks."""
        return list(dict.fromkeys(f"{c.source.title}: {c.source.caveat}" for c in self.published))

    def heads(self) -> list[str]:
        """Return the heads of published columns, with their marks."""
        titles = list(dict.fromkeys(column.source.title for column in self.published))
        return [f"{column.method} [{titles.index(column.source.title) + 1}]" for column in self.published]

    def rows(self) -> list[tuple[MetricFacts | str, list[Summary], list[float]]]:
        """Return a row for each metric: ours first, then those that are only published."""
        methods = self.report.methods()
        rows: list[tuple[MetricFacts | str, list[Summary], list[float]]] = []
        for metric in self.report.metrics:
            summaries = [self.report.summary(method, metric.name, self.data_set) for method in methods]
            rows.append((metric, summaries, self._published(metric.name)))
        measured = {metric.name for metric in self.report.metrics}
        rows += [(name, [], self._published(name)) for name in self._rows if name not in measured]
        return rows

    def _published(self, name: str) -> list[float]:
        return [self._rows.get(name, {}).get(place, math.nan) for place in range(len(self.published))]


def to_markdown(table: BenchmarkTable) -> str:
    """Lay out the table with its notes and sources."""
    methods = table.report.methods()
    cells = [[_title(table), *methods, *table.heads()]]
    for metric, summaries, published in table.rows():
        if isinstance(metric, str):
            cells.append([f"{metric} (not measured)", *("-" for _ in methods), *map(_plain, published)])
            continue
        best = best_of(metric, summaries)
        ours = [_value(metric, s, place in best) for place, s in enumerate(summaries)]
        cells.append([f"{metric.name} {metric.direction}", *ours, *map(_plain, published)])
    parts = [markdown(cells)]
    lines = [*table.notes, *([NOT_COMPARABLE] if table.published else [])]
    lines += [f"[{place + 1}] {source}" for place, source in enumerate(table.sources)]
    lines += [f"failed: {failure}" for failure in table.failures]
    return "\n".join([*parts, *(f"- {line}" for line in lines)]) + "\n"


def to_latex(table: BenchmarkTable) -> str:
    r"""Write a ``tabular`` for ``\usepackage{booktabs}``; published columns stand behind a rule, in italics."""
    methods = table.report.methods()
    rule = "|" if table.published else ""
    lines = [rf"\begin{{tabular}}{{l{'c' * len(methods)}{rule}{'c' * len(table.published)}}}", r"\toprule"]
    heads = [latex_text(word) for word in (_title(table), *methods)]
    heads += [rf"\textit{{{latex_text(word)}}}" for word in table.heads()]
    lines += [" & ".join(heads) + r" \\", r"\midrule"]
    for metric, summaries, published in table.rows():
        theirs = [rf"\textit{{{_plain(value)}}}" if not math.isnan(value) else "-" for value in published]
        if isinstance(metric, str):
            lines.append(" & ".join([latex_text(metric), *("-" for _ in methods), *theirs]) + r" \\")
            continue
        best = best_of(metric, summaries)
        texts = [metric.text(s.mean).replace("∞", r"$\infty$") for s in summaries]
        ours = [rf"\textbf{{{text}}}" if place in best else text for place, text in enumerate(texts)]
        lines.append(" & ".join([latex_text(metric.name), *ours, *theirs]) + r" \\")
    comments = [f"% {line}" for line in (*table.notes, *([NOT_COMPARABLE] if table.published else []), *table.sources)]
    return "\n".join([*comments, *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_csv(table: BenchmarkTable) -> str:
    """Write a line for each value: data set, metric, method, whether it is measured or published, interval, source."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data_set", "metric", "method", "origin", "value", "low", "high", "clips", "source"])
    for entry in _entries(table):
        low, high = entry["interval_95"] or (None, None)
        cells = [entry["value"], low, high, entry["clips"]]
        shown = ["" if value is None else value for value in cells]
        writer.writerow([table.data_set, entry["metric"], entry["method"], entry["origin"], *shown, entry["source"]])
    return text.getvalue()


def to_json(table: BenchmarkTable, record: dict[str, Any]) -> str:
    """Write the table with the record of the benchmark."""
    tree = {
        "format": "starvsr benchmark",
        "format_version": 1,
        "benchmark": record,
        "data_set": table.data_set,
        "values": _entries(table),
        "missing": table.report.absences(),
        "notes": list(table.notes),
        "failures": list(table.failures),
    }
    return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _entries(table: BenchmarkTable) -> list[dict[str, Any]]:
    entries = []
    for metric, summaries, published in table.rows():
        name = metric if isinstance(metric, str) else metric.name
        for method, summary in zip(table.report.methods(), summaries, strict=False):
            interval = None if summary.low is None else [summary.low, summary.high]
            entries.append(
                {
                    "metric": name,
                    "method": method,
                    "origin": "measured",
                    "value": number(summary.mean),
                    "interval_95": interval,
                    "clips": summary.num_clips,
                    "source": "",
                }
            )
        entries += [
            {
                "metric": name,
                "method": column.method,
                "origin": "published",
                "value": value,
                "interval_95": None,
                "clips": None,
                "source": column.source.title,
            }
            for column, value in zip(table.published, published, strict=True)
            if not math.isnan(value)
        ]
    return entries


def _title(table: BenchmarkTable) -> str:
    counts = sorted({len(table.report.of(method)) for method in table.report.methods()})
    return f"{table.data_set} ({' to '.join(map(str, counts))} clip{'' if counts == [1] else 's'})"


def _value(metric: MetricFacts, summary: Summary, is_best: bool) -> str:
    text = metric.text(summary.mean)
    interval = interval_text(metric, summary)
    return (f"**{text}**" if is_best else text) + (f" {interval}" if interval else "")


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:g}"
