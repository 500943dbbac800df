"""Scores of single clips, kept in files, so that what is scored is not scored again; and all of them in one report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from starvsr.errors import InputNotFoundError, UnreadableInputError
from starvsr.evaluation.benchmarks.inputs import ReadyClip
from starvsr.evaluation.clip_source import ClipSource
from starvsr.evaluation.guarded import MissingMetric
from starvsr.evaluation.pairing import ClipTrio
from starvsr.evaluation.record import ClipScore, Report, read_report
from starvsr.evaluation.run import EvaluationOptions, OnStep, evaluate_clips, settle
from starvsr.metrics.metric import MetricFacts
from starvsr.video.write.publish import as_output_error, replace_file

_KEY = "benchmark_key"


class ScoreFiles:
    """The scores of a benchmark's clips.

    Args:
        folder: where they are kept; a folder for each model, a file for each clip.
        data_set: what tables call the data set.
        options: how clips are evaluated.
        metrics: the metrics that can be computed.
        missing: those that cannot, and why.
    """

    def __init__(
        self,
        folder: Path,
        data_set: str,
        options: EvaluationOptions,
        metrics: Sequence[MetricFacts],
        missing: Sequence[MissingMetric],
    ) -> None:
        self._folder, self._data_set, self._options = folder, data_set, options
        self._metrics, self._missing = tuple(metrics), tuple(missing)

    def stored(self, label: str, clip: ReadyClip, made_by: dict[str, Any]) -> Report | None:
        """Return the scores of a clip, if they are of the same data, model, protocol and of all metrics wanted."""
        try:
            report = read_report(self._path(label, clip.name))
        except (InputNotFoundError, UnreadableInputError):
            return None
        if report.protocol.get(_KEY) != self._key(clip, made_by) or len(report.scores) != 1:
            return None
        known = {metric.name: metric for metric in report.metrics}
        absent = {missing.metric for missing in report.scores[0].missing}
        if any(known.get(m.name) != m and not (m.name in absent and m.name not in known) for m in self._metrics):
            return None
        return report

    def score(self, label: str, clip: ReadyClip, result: Path, made_by: dict[str, Any], on_step: OnStep) -> Report:
        """Score a result and keep the scores.

        Raises:
            StarVsrError: the result cannot be scored.
        """
        trio = trio_of(clip, result)
        names = [metric.name for metric in self._metrics]
        options = replace(self._options, metrics=names)
        report = evaluate_clips([(label, trio)], self._data_set, options, on_step).report
        report.protocol[_KEY] = self._key(clip, made_by)
        path = self._path(label, clip.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, report.to_json().encode())
        except OSError as error:
            raise as_output_error(path, error) from None
        return report

    def join(self, reports: Sequence[tuple[str, Report]], record: dict[str, Any]) -> Report:
        """Put the scores of all clips into one report.

        Args:
            reports: (label of the model, scores of one clip), in the order of the table.
            record: what the protocol says of the benchmark.
        """
        protocol = {key: value for key, value in reports[0][1].protocol.items() if key != _KEY}
        joined = Report(protocol=protocol | {"benchmark": record}, seed=self._options.seed)
        joined.missing += self._missing
        for label, report in reports:
            joined.scores += [replace(self._trimmed(score), method=label) for score in report.scores]
        known = {metric.name: metric for _, report in reports for metric in report.metrics}
        settle(joined, [known.get(metric.name, metric) for metric in self._metrics])
        return joined

    def _trimmed(self, score: ClipScore) -> ClipScore:
        """Leave metrics out that were measured in an earlier run and are not wanted now."""
        wanted = {metric.name for metric in self._metrics}
        return replace(
            score,
            data_set=self._data_set,
            frames={name: values for name, values in score.frames.items() if name in wanted},
            missing=[absent for absent in score.missing if absent.metric in wanted],
        )

    def _path(self, label: str, clip: str) -> Path:
        return self._folder / label / f"{clip}.json"

    def _key(self, clip: ReadyClip, made_by: dict[str, Any]) -> str:
        """Return a digest of what scores depend on beside the metrics."""
        options = asdict(self._options)
        kept = {name: options[name] for name in ("crop_px", "flow", "flow_source", "allow_shift")}
        text = json.dumps([clip.pixels, made_by, kept], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def trio_of(clip: ReadyClip, result: Path) -> ClipTrio:
    """Return a result with what belongs to it."""
    return ClipTrio(clip.name, ClipSource(clip.name, result), clip.gt, clip.lq)
