"""Plots as SVG without text: lines over frames, and distributions. Labels around them are HTML and stay legible.

Lines are drawn in a box of 1000 units that is stretched to the width there is; strokes keep their width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from starvsr.evaluation.record import ClipScore, Report
from starvsr.metrics.metric import MetricFacts

_WIDTH, _HEIGHT = 1000, 200
_BOX_HEIGHT = 40
_MOST_POINTS = 500
_PADDING = 0.06  # of the range, above and below
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def line_plot(metric: MetricFacts, scores: Sequence[ClipScore], colors: dict[str, int]) -> str:
    """Draw a metric over the frames of a clip, a line for each method; "" where no frame has a value of its own.

    Args:
        metric: what is drawn.
        scores: of one clip, one for each method.
        colors: number of the colour of each method.
    """
    lines = [(score, score.frames.get(metric.name, [])) for score in scores]
    known = [value for _, values in lines for value in values if math.isfinite(value)]
    if len(known) < 2 or max(sum(map(math.isfinite, values)) for _, values in lines) < 2:
        return ""
    low, high = _range(known)
    count = max(len(values) for _, values in lines)
    stride = _stride([values for _, values in lines])
    paths = "".join(
        f'<path class="c{colors[score.method]}" d="{_path(values, count, low, high, stride)}"/>'
        for score, values in lines
    )
    clip = escape(scores[0].clip, quote=True)
    return (
        f'<figure class="plot"><figcaption>{_title(metric)}</figcaption><div class="plane">'
        f'<div class="ends"><span>{metric.text(high)}</span><span>{metric.text(low)}</span></div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" data-clip="{clip}"'
        f' data-frames="{count}" aria-label="{escape(metric.name)} over the frames of {clip}">'
        f"{_grid()}{paths}<line class='here' y1='0' y2='{_HEIGHT}' x1='-9' x2='-9'/></svg></div>"
        f'<div class="axis"><span>frame 0</span><span>{count - 1}</span></div></figure>'
    )


def distribution(metric: MetricFacts, report: Report, colors: dict[str, int]) -> str:
    """Draw how a metric is spread over all frames, a row for each method; "" without finite values.

    A box spans the middle half of the frames, its bar is the median, whiskers reach from 5 to 95 %; ticks below are the
    means of clips.
    """
    frames = {m: _finite([v for s in report.of(m) for v in s.frames.get(metric.name, [])]) for m in report.methods()}
    frames = {method: values for method, values in frames.items() if values}
    every = [value for values in frames.values() for value in values]
    if not every:
        return ""
    low, high = _range(every)
    rows = []
    for method, values in frames.items():
        means = _finite([score.value(metric.name) for score in report.of(method)])
        box = _box(values, means, low, high)
        rows.append(
            f'<span class="name">{escape(method)}</span><svg class="c{colors[method]}"'
            f' viewBox="0 0 {_WIDTH} {_BOX_HEIGHT}" preserveAspectRatio="none" role="img"'
            f' aria-label="{escape(metric.name)} of {escape(method)}">{box}</svg>'
        )
    return (
        f'<figure class="spread"><figcaption>{_title(metric)}</figcaption><div class="rows">{"".join(rows)}'
        f'<span></span><div class="axis"><span>{metric.text(low)}</span><span>{metric.text(high)}</span></div>'
        "</div></figure>"
    )


def _title(metric: MetricFacts) -> str:
    unit = f" <small>{escape(metric.unit)}</small>" if metric.unit else ""
    return f"{escape(metric.name)} {metric.direction}{unit}"


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * _PADDING or max(abs(high) * _PADDING, 1e-6)
    return low - margin, high + margin


def _grid() -> str:
    lines = (_HEIGHT * k // 4 for k in (1, 2, 3))
    return "".join(f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}"/>' for y in lines)


def _stride(lines: Sequence[Sequence[float]]) -> int:
    """Return how many frames lie between two values of a line: 1, or more where every N-th frame was scored."""
    places = [np.flatnonzero(np.isfinite(np.asarray(values, np.float64))) for values in lines]
    return min((int(np.diff(known).min()) for known in places if len(known) > 1), default=1)


def _path(values: Sequence[float], count: int, low: float, high: float, stride: int) -> str:
    """Return the path of a line; it is broken where more values in succession are missing than were passed over.

    A value alone is a line of no length, which its round ends make a dot.
    """
    known = np.flatnonzero(np.isfinite(np.asarray(values, np.float64)))
    parts = np.split(known, np.flatnonzero(np.diff(known) > stride) + 1)
    drawn, words = dict(_thinned(values)), []
    for part in parts:
        points = [
            f"{_WIDTH * index / max(count - 1, 1):.1f} {_HEIGHT * (high - drawn[index]) / (high - low):.1f}"
            for index in map(int, part)
            if index in drawn
        ]
        words += [f"M{points[0]}", *(f"L{point}" for point in points[1:])] if points else []
        words += ["h0"] if len(points) == 1 else []
    return "".join(words)


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """Return (frame, finite value): of long clips the least and largest of each stretch, so that no peak is lost."""
    if len(values) <= _MOST_POINTS:
        return [(index, value) for index, value in enumerate(values) if math.isfinite(value)]
    kept: list[tuple[int, float]] = []
    for part in np.array_split(np.arange(len(values)), _MOST_POINTS // 2):
        known = [(int(k), values[k]) for k in part if math.isfinite(values[k])]
        if known:
            ends = {min(known, key=lambda point: point[1]), max(known, key=lambda point: point[1])}
            kept += sorted(ends)
    return kept


def _box(values: Sequence[float], means: Sequence[float], low: float, high: float) -> str:
    def place(value: float) -> str:
        return f"{_WIDTH * (value - low) / (high - low):.1f}"

    ends = [place(float(q)) for q in np.quantile(np.asarray(values, np.float64), _QUANTILES)]
    middle = 14
    parts = [
        f'<line class="whisker" x1="{ends[0]}" x2="{ends[4]}" y1="{middle}" y2="{middle}"/>',
        f'<rect x="{ends[1]}" y="4" width="{max(float(ends[3]) - float(ends[1]), 1):.1f}" height="20"/>',
        f'<line class="median" x1="{ends[2]}" x2="{ends[2]}" y1="4" y2="24"/>',
    ]
    parts += [f'<line class="tick" x1="{place(mean)}" x2="{place(mean)}" y1="30" y2="38"/>' for mean in means]
    return "".join(parts)
