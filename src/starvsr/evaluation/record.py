"""The record of an evaluation: protocol, clips, values of every frame; from it tables and pages are made."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.evaluation.guarded import MissingMetric
from starvsr.evaluation.statistics import Summary, summarize
from starvsr.metrics.metric import MetricFacts, mean

FORMAT, FORMAT_VERSION = "starvsr evaluation", 1
REPORT_NAME = "report.json"


@dataclass(frozen=True)
class ClipScore:
    """One method on one clip.

    Attributes:
        data_set: Name of the data set.
        clip: Name of the clip.
        method: Name of the method.
        frames: Metric name to a value for each frame; NaN for frames without one of their own.
        num_frames: Frames of the clip.
        frame_rate: Frames per second, a fraction as text.
        files: What is known of the files: "result", "reference", "lq", each with its SHA-256.
        alignment: The shift that was measured before scoring.
        times: Seconds of the frames where they do not follow the frame rate.
        warnings: What was remarked before scoring.
        missing: Metrics without a value, and why.
        survey: Without a reference, what the result adds to its input, and where (see
            :mod:`starvsr.evaluation.result_survey`).
    """

    data_set: str
    clip: str
    method: str
    frames: dict[str, list[float]]
    num_frames: int
    frame_rate: str = "25"
    files: dict[str, Any] = field(default_factory=dict)
    alignment: dict[str, Any] = field(default_factory=dict)
    times: list[float] | None = None
    warnings: list[str] = field(default_factory=list)
    missing: list[MissingMetric] = field(default_factory=list)
    survey: dict[str, Any] = field(default_factory=dict)

    def value(self, metric: str) -> float:
        """Return the mean over the frames that have a value; NaN without any."""
        return mean(self.frames[metric]) if metric in self.frames else math.nan


@dataclass
class Report:
    """All scores of an evaluation.

    Attributes:
        metrics: Those that were asked for and could be computed on some clip.
        scores: One for each clip and method.
        protocol: What else values depend on.
        missing: Metrics without any value, and why.
        seed: Of the draws of intervals and tests.
    """

    metrics: list[MetricFacts] = field(default_factory=list)
    scores: list[ClipScore] = field(default_factory=list)
    protocol: dict[str, Any] = field(default_factory=dict)
    missing: list[MissingMetric] = field(default_factory=list)
    seed: int = 0

    def data_sets(self) -> list[str]:
        """List the data sets in the order in which they came."""
        return list(dict.fromkeys(score.data_set for score in self.scores))

    def methods(self) -> list[str]:
        """List the methods in the order in which they came."""
        return list(dict.fromkeys(score.method for score in self.scores))

    def of(self, method: str, data_set: str | None = None) -> list[ClipScore]:
        """Return the scores of a method, of one data set or of all."""
        return [s for s in self.scores if s.method == method and data_set in (None, s.data_set)]

    def summary(self, method: str, metric: str, data_set: str | None = None) -> Summary:
        """Average a metric over frames, then over clips."""
        return summarize([score.value(metric) for score in self.of(method, data_set)], self.seed)

    def paired(self, first: str, second: str, metric: str) -> tuple[list[float], list[float]]:
        """Return the values of two methods on the clips that both have, in one order."""
        ours = {(s.data_set, s.clip): s.value(metric) for s in self.of(first)}
        theirs = {(s.data_set, s.clip): s.value(metric) for s in self.of(second)}
        both = [key for key in ours if key in theirs]
        return [ours[key] for key in both], [theirs[key] for key in both]

    def warnings(self) -> list[str]:
        """List what was remarked, each once; with the methods where it does not hold for all of them."""
        methods: dict[str, list[str]] = {}
        for score in self.scores:
            for warning in score.warnings:
                methods.setdefault(warning, []).append(score.method)
        whole = set(self.methods())
        return [
            warning if whole <= set(of) else f"{warning} ({', '.join(dict.fromkeys(of))})"
            for warning, of in methods.items()
        ]

    def absences(self) -> list[str]:
        """Say what is missing: whole metrics, and values of single clips."""
        lines = [f"{absent.metric}: {absent.reason}" for absent in self.missing]
        whole = {absent.metric for absent in self.missing}
        places: dict[tuple[str, str], list[str]] = {}
        for score in self.scores:
            for absent in score.missing:
                if absent.metric not in whole:
                    places.setdefault((absent.metric, absent.reason), []).append(f"{score.clip} ({score.method})")
        return lines + [f"{name} of {', '.join(clips)}: {reason}" for (name, reason), clips in places.items()]

    def to_json(self) -> str:
        """Write the record; values that are not finite become null, "inf" or "-inf"."""
        tree = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "protocol": self.protocol,
            "seed": self.seed,
            "metrics": [asdict(metric) for metric in self.metrics],
            "missing": [asdict(absent) for absent in self.missing],
            "summary": self._summaries(),
            "scores": [_score_tree(score) for score in self.scores],
        }
        return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _summaries(self) -> dict[str, Any]:
        return {
            data_set: {
                method: {m.name: _summary_tree(self.summary(method, m.name, data_set)) for m in self.metrics}
                for method in self.methods()
                if self.of(method, data_set)
            }
            for data_set in self.data_sets()
        }


def read_report(path: Path) -> Report:
    """Read a report: its folder, or the `report.json` in it.

    Raises:
        InputNotFoundError: there is none.
        UnreadableInputError: it is no report, or one of a later version.
    """
    file = path / REPORT_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputNotFoundError(f"{file}: there is no such report; give what `starvsr evaluate -o` wrote")
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            raise ValueError("another format")
        if tree["format_version"] > FORMAT_VERSION:
            raise UnreadableInputError(f"{file}: written by a later version; update starvsr to read it")
        return Report(
            metrics=[MetricFacts(**metric) for metric in tree["metrics"]],
            scores=[_read_score(score) for score in tree["scores"]],
            protocol=tree["protocol"],
            missing=[MissingMetric(**absent) for absent in tree["missing"]],
            seed=tree["seed"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableInputError(f"{file}: is no report of `starvsr evaluate` ({type(error).__name__})") from None


def is_report(path: Path) -> bool:
    """Whether a path names a report: its folder, or a JSON file."""
    return (path / REPORT_NAME).is_file() or (path.suffix.lower() == ".json" and path.is_file())


def number(value: float | None) -> float | str | None:
    """Return a value as JSON holds it."""
    if value is None or math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _score_tree(score: ClipScore) -> dict[str, Any]:
    tree = asdict(score)
    tree["frames"] = {name: [number(value) for value in values] for name, values in score.frames.items()}
    return tree | {"values": {name: number(score.value(name)) for name in score.frames}}


def _read_score(tree: Mapping[str, Any]) -> ClipScore:
    kept = {name: tree[name] for name in ClipScore.__dataclass_fields__ if name in tree or name != "survey"}
    kept["frames"] = {name: _read_numbers(values) for name, values in tree["frames"].items()}
    kept["missing"] = [MissingMetric(**absent) for absent in tree["missing"]]
    return ClipScore(**kept)


def _read_numbers(values: Iterable[float | str | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _summary_tree(summary: Summary) -> dict[str, Any]:
    interval: Sequence[float] | None = None
    if summary.low is not None and summary.high is not None:
        interval = (summary.low, summary.high)
    return {"mean": number(summary.mean), "interval_95": interval, "clips": summary.num_clips}
