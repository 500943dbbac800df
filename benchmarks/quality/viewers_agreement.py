"""How far each metric agrees with viewers: of two methods on one input, does it name the one that viewers preferred?

    python -m benchmarks.quality.viewers_agreement SCORES.csv [--least 0.3] [--pair rhea lanczos] [--write PAGE.md]

The table has a row for each clip: what it was made from (columns source, codec, resolution, qp), the method, its mean
opinion score ("mos"), and the value of each metric. Pairs of methods on one input count whose scores differ by more
than --least; a metric that gives both the same value agrees by half. The rank correlation (Spearman) is over all
clips. Intervals of 95 % come from drawing inputs anew, with a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.reliability.torture import write_table

BEGIN, END = "<!-- viewers:begin -->", "<!-- viewers:end -->"
INPUT = ("source", "codec", "resolution", "qp")
NOT_METRICS = {*INPUT, "method", "mos", "ci", "count", "upscaling_spf"}
LOWER_IS_BETTER = {"butteraugli", "pieapp", "lpips-alex", "lpips-vgg", "dists", "brisque", "niqe"}
SOURCES = ("", "source", "src", "reference")
"""What the column "method" holds for the sources themselves."""
NUM_DRAWS = 1000

Row = Mapping[str, str]


@dataclass(frozen=True)
class Agreement:
    """How a metric and viewers agree.

    Args:
        metric: Name of the column.
        share: Of pairs in which it names the preferred side.
        low: Lower end of its 95 % interval.
        high: Upper end.
        correlation: Spearman's, positive for a metric that says what viewers say.
        num_pairs: Pairs that count.
        chosen: Share among pairs of two methods that were asked for; NaN without any.
    """

    metric: str
    share: float
    low: float
    high: float
    correlation: float
    num_pairs: int
    chosen: float


def read(path: Path) -> list[Row]:
    """Read the table without rows of the sources themselves.

    Raises:
        SystemExit: a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Row] = [
            row for row in csv.DictReader(file) if row.get("method", "") not in ("", "source", "src", "reference")
        ]
    missing = [name for name in (*INPUT, "method", "mos") if rows and name not in rows[0]]
    if not rows or missing:
        raise SystemExit(f"{path} has no column {missing[0]!r}" if missing else f"{path} has no scores of methods")
    return rows


def agreements(rows: Sequence[Row], least: float = 0.3, pair: tuple[str, str] | None = None) -> list[Agreement]:
    """Compare each metric with viewers, the best first."""
    names = [name for name in rows[0] if name not in NOT_METRICS]
    found = [one for name in names if (one := agreement(rows, name, least, pair)) is not None]
    return sorted(found, key=lambda one: -one.share)


def agreement(
    rows: Sequence[Row], metric: str, least: float = 0.3, pair: tuple[str, str] | None = None
) -> Agreement | None:
    """Compare a metric with viewers; None for a column without numbers for every clip or without pairs."""
    try:
        values = np.array([float(row[metric]) for row in rows]) * (-1 if metric in LOWER_IS_BETTER else 1)
    except (TypeError, ValueError):
        return None
    scores = np.array([float(row["mos"]) for row in rows])
    hits = _hits(rows, values, scores, least)
    every = [hit for of_input in hits for _, hit in of_input]
    if not every or not np.isfinite(values).all():
        return None
    wanted = [hit for of_input in hits for methods, hit in of_input if pair and set(pair) == set(methods)]
    low, high = _interval([[hit for _, hit in of_input] for of_input in hits])
    return Agreement(
        metric,
        float(np.mean(every)),
        low,
        high,
        spearman(values, scores),
        len(every),
        float(np.mean(wanted)) if wanted else float("nan"),
    )


def _hits(
    rows: Sequence[Row], values: NDArray[np.float64], scores: NDArray[np.float64], least: float
) -> list[list[tuple[tuple[str, str], float]]]:
    """Return for each input the pairs that count: 1 where the metric names the preferred side, 0.5 where neither."""
    inputs: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        inputs.setdefault(tuple(row[name] for name in INPUT), []).append(index)
    hits = []
    for indices in inputs.values():
        pairs = [(a, b) for a, b in combinations(indices, 2) if abs(scores[a] - scores[b]) > least]
        sides = [float(np.sign(values[a] - values[b]) * np.sign(scores[a] - scores[b])) for a, b in pairs]
        names = [(rows[a]["method"], rows[b]["method"]) for a, b in pairs]
        hits.append([(name, 0.5 + 0.5 * side) for name, side in zip(names, sides, strict=True)])
    return hits


def _interval(hits: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the 95 % interval of the share: inputs are drawn anew, each with all of its pairs."""
    rng = np.random.default_rng(0)
    sums, counts = (np.array([f(one) for one in hits], float) for f in (sum, len))
    draws = rng.integers(0, len(hits), (NUM_DRAWS, len(hits)))
    totals = counts[draws].sum(1)
    shares = sums[draws].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the rank correlation; equal values share their mean rank, and NaN where all are equal."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def as_table(found: Iterable[Agreement], pair: tuple[str, str] | None = None) -> str:
    """Write the agreements as a table of Markdown."""
    heads = ["metric", "names the preferred side", "95 % interval", "rank correlation"]
    heads += [f"{pair[0]} against {pair[1]}"] if pair else []
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for one in found:
        cells = [one.metric, f"{100 * one.share:.0f} %", f"{100 * one.low:.0f} to {100 * one.high:.0f} %"]
        cells += [f"{one.correlation:.2f}", *([f"{100 * one.chosen:.0f} %"] if pair else [])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write it where it is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scores", type=Path, help="CSV with the opinion scores and metrics")
    parser.add_argument("--least", type=float, default=0.3, help="difference of opinion scores of pairs that count")
    parser.add_argument("--pair", nargs=2, metavar="METHOD", help="tell the share of these two methods, too")
    parser.add_argument("--only", nargs="*", metavar="COLUMN", help="metrics to list (default: all)")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args(arguments)
    pair = (options.pair[0], options.pair[1]) if options.pair else None
    rows = read(options.scores)
    found = agreements(rows, options.least, pair)
    found = [one for one in found if not options.only or one.metric in options.only]
    table = as_table(found, pair)
    pairs = f"{max((one.num_pairs for one in found), default=0)} pairs"
    print(f"{table}\n\n{pairs} of {len(rows)} clips; opinion scores differ by more than {options.least:g}")
    if options.write:
        write_table(options.write, table, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
