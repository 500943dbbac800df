"""Scores as tables: CSV with every frame, Markdown and LaTeX in the layout of STAR's Table 1.

In that layout each data set is a block, metrics are its rows, methods its columns; the best value of a row is bold.
Source: Xie et al. 2025 (arXiv 2501.02976), Table 1.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from starvsr.evaluation.comparison import paired_tests, tests_rows
from starvsr.evaluation.record import Report
from starvsr.evaluation.statistics import Summary
from starvsr.metrics.metric import MetricFacts

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
_ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}


def to_csv(report: Report) -> str:
    """Write a line for each frame of each clip and method; empty where a frame has no value of its own."""
    names = [metric.name for metric in report.metrics]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data_set", "method", "clip", "frame", *names])
    for score in report.scores:
        columns = [score.frames.get(name) or [math.nan] * score.num_frames for name in names]
        for index, values in enumerate(zip(*columns, strict=True)):
            cells = ["" if math.isnan(value) else repr(value) for value in values]
            writer.writerow([score.data_set, score.method, score.clip, index, *cells])
    return text.getvalue()


def to_markdown(report: Report) -> str:
    """Lay out means with their intervals, paired tests, clips, what is missing, and the protocol."""
    parts = [means_markdown(report)]
    tests = tests_markdown(report)
    parts += [f"Paired differences, all data sets:\n\n{tests}"] if tests else []
    parts += [_clips_markdown(report)]
    for title, lines in (("Missing", report.absences()), ("Warnings", report.warnings())):
        parts += [f"{title}:\n\n" + "".join(f"- {line}\n" for line in lines)] if lines else []
    parts.append("Protocol:\n\n" + "".join(f"- {line}\n" for line in protocol_lines(report)))
    return "\n".join(parts)


def means_markdown(report: Report) -> str:
    """Lay out means with their intervals, a table for each data set."""
    return "\n".join(markdown(means_rows(report, data_set)) for data_set in report.data_sets())


def tests_markdown(report: Report) -> str:
    """Lay out the paired tests of each two methods; "" for a single one."""
    tests = paired_tests(report)
    return markdown(tests_rows(tests)) if tests else ""


def to_latex(report: Report) -> str:
    r"""Write a ``tabular`` for ``\usepackage{booktabs,multirow}``."""
    methods = report.methods()
    lines = [rf"\begin{{tabular}}{{ll{'c' * len(methods)}}}", r"\toprule"]
    lines.append(" & ".join(["Data set", "Metric", *map(latex_text, methods)]) + r" \\")
    for data_set in report.data_sets():
        lines.append(r"\midrule")
        for row, metric in enumerate(report.metrics):
            summaries = [report.summary(method, metric.name, data_set) for method in methods]
            best = best_of(metric, summaries)
            cells = [_tex_value(metric, s.mean, place in best) for place, s in enumerate(summaries)]
            block = rf"\multirow{{{len(report.metrics)}}}{{*}}{{{latex_text(data_set)}}}" if row == 0 else ""
            arrow = _ARROWS.get(metric.direction, rf"$\rightarrow {metric.direction[1:]}$")
            lines.append(" & ".join([block, f"{latex_text(metric.name)} {arrow}", *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def best_of(metric: MetricFacts, summaries: Sequence[Summary]) -> set[int]:
    """Return the places of the best means, as they are printed; none where there is only one."""
    texts = {place: metric.text(s.mean) for place, s in enumerate(summaries) if not math.isnan(s.mean)}
    if len(texts) < 2:
        return set()
    best = min(texts, key=lambda place: metric.loss(summaries[place].mean))
    return {place for place, text in texts.items() if text == texts[best]}


def interval_text(metric: MetricFacts, summary: Summary) -> str:
    """Write the interval of a mean; "" where there is none."""
    if summary.low is None:
        return ""
    return f"[{metric.text(summary.low)}, {metric.text(summary.high)}]"


def protocol_lines(report: Report) -> list[str]:
    """State the protocol in words, one line for each fact."""
    protocol = report.protocol
    lines = [f"{m.name} ({m.direction}{' ' + m.unit if m.unit else ''}): {m.protocol}" for m in report.metrics]
    lines += [f"weights of {name}: {text}" for name, text in protocol.get("weights", {}).items()]
    rest = {key: value for key, value in protocol.items() if key not in ("metrics", "weights", "versions")}
    lines += [f"{key.replace('_', ' ')}: {value}" for key, value in rest.items()]
    versions = ", ".join(f"{name} {version}" for name, version in protocol.get("versions", {}).items())
    return [*lines, f"seed: {report.seed}", *([f"versions: {versions}"] if versions else [])]


def means_rows(report: Report, data_set: str) -> list[list[str]]:
    """Return the cells of a data set's table, header first: metrics are rows, methods columns."""
    methods = [method for method in report.methods() if report.of(method, data_set)]
    counts = sorted({len(report.of(method, data_set)) for method in methods})
    clips = f"{' to '.join(map(str, counts))} clip{'' if counts == [1] else 's'}"
    rows = [[f"{data_set} ({clips})", *methods]]
    for metric in report.metrics:
        summaries = [report.summary(method, metric.name, data_set) for method in methods]
        best = best_of(metric, summaries)
        cells = [_md_value(metric, s, place in best) for place, s in enumerate(summaries)]
        rows.append([f"{metric.name} {metric.direction}", *cells])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose columns stand below each other in plain text, too; the header is the first row."""
    cells = [[" ".join(cell.replace("|", r"\|").split()) for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(cells[0]))]
    cells.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(map(str.ljust, row, widths))} |\n" for row in cells)


def _clips_markdown(report: Report) -> str:
    rows = [["clip", "method", "frames", *(metric.name for metric in report.metrics)]]
    for score in report.scores:
        cells = [metric.text(score.value(metric.name)) for metric in report.metrics]
        rows.append([score.clip, score.method, str(score.num_frames), *cells])
    return markdown(rows)


def _md_value(metric: MetricFacts, summary: Summary, is_best: bool) -> str:
    text = metric.text(summary.mean)
    interval = interval_text(metric, summary)
    return (f"**{text}**" if is_best else text) + (f" {interval}" if interval else "")


def latex_text(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(char, char) for char in text)


def _tex_value(metric: MetricFacts, value: float, is_best: bool) -> str:
    text = metric.text(value).replace("∞", r"$\infty$")
    return rf"\textbf{{{text}}}" if is_best else text
