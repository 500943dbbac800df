"""Scores of methods on clips: values of every frame, means, worst frames, and the files they are written to."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from starvsr.errors import OptionError
from starvsr.metrics.lockstep import Values
from starvsr.metrics.metric import Metric, mean

NUM_WORST = 3
"""Frames that a report names for each method and metric."""


@dataclass(frozen=True)
class Score:
    """One method on one clip.

    Attributes:
        clip: Name of the clip.
        group: Its group.
        method: Name of the method.
        frames: Metric name to one value per frame; NaN where a frame has none of its own.
        seconds_per_frame: Time that the method took.
    """

    clip: str
    group: str
    method: str
    frames: Values
    seconds_per_frame: float

    @property
    def values(self) -> dict[str, float]:
        """Mean of each metric over the frames that have a value; NaN without any."""
        return {name: mean(values) for name, values in self.frames.items()}


@dataclass(frozen=True)
class WorstFrame:
    """A frame on which a method did badly."""

    method: str
    metric: str
    group: str
    clip: str
    frame: int
    """Index in presentation order."""
    value: float


@dataclass
class ScoreTable:
    """All scores of one evaluation and the protocol they were computed by."""

    metrics: list[Metric] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    protocol: dict[str, object] = field(default_factory=dict)

    def groups(self) -> list[str]:
        """List the groups in the order in which they came."""
        return list(dict.fromkeys(score.group for score in self.scores))

    def methods(self) -> list[str]:
        """List the methods in the order in which they came."""
        return list(dict.fromkeys(score.method for score in self.scores))

    def mean(self, method: str, group: str | None = None) -> dict[str, float]:
        """Average a method's values over the clips of a group (over all clips for None).

        Returns:
            metric name to mean, and "seconds_per_frame"; clips without a value (a warping error of one frame)
            are left out of its mean, and a metric without any value is NaN.

        Raises:
            OptionError: there is no such score.
        """
        chosen = [s for s in self.scores if s.method == method and group in (None, s.group)]
        if not chosen:
            raise OptionError(f"no score of method {method!r} in group {group!r}: have {self.methods()}")
        rows = [score.values for score in chosen]
        means = {name: mean([row[name] for row in rows]) for name in rows[0]}
        return means | {"seconds_per_frame": mean([score.seconds_per_frame for score in chosen])}

    def worst(self, method: str, metric: str, count: int = NUM_WORST) -> list[WorstFrame]:
        """Return the frames of all clips on which a method has the worst values of a metric, the worst first.

        Raises:
            OptionError: the metric was not measured.
        """
        found = next((one for one in self.metrics if one.name == metric), None)
        if found is None:
            raise OptionError(f"{metric!r} was not measured: have {', '.join(one.name for one in self.metrics)}")
        frames = [
            WorstFrame(method, metric, score.group, score.clip, index, value)
            for score in self.scores
            if score.method == method
            for index, value in enumerate(score.frames[metric].tolist())
            if not math.isnan(value)
        ]
        return sorted(frames, key=lambda frame: -found.loss(frame.value))[:count]

    def to_markdown(self, *, clips: bool = False) -> str:
        """Lay out the means of each group and method; with `clips` also every clip, and the worst frames."""
        names = [metric.name for metric in self.metrics]
        rows = [
            [group, method, *self._cells(self.mean(method, group))]
            for group in self.groups()
            for method in self.methods()
        ]
        text = _markdown(["group", "method", *names, "s/frame"], rows)
        if clips:
            each = [
                [s.group, s.clip, s.method, *self._cells(s.values | {"seconds_per_frame": s.seconds_per_frame})]
                for s in self.scores
            ]
            text += "\n" + _markdown(["group", "clip", "method", *names, "s/frame"], each)
            text += "\nWorst frames:\n\n" + _markdown(
                ["method", "metric", "group", "clip", "frame", "value"],
                [
                    [w.method, w.metric, w.group, w.clip, str(w.frame), metric.text(w.value)]
                    for method in self.methods()
                    for metric in self.metrics
                    for w in self.worst(method, metric.name)
                ],
            )
        return text

    def to_json(self) -> str:
        """Write protocol, means, worst frames and all scores as JSON; values that are not finite become null."""
        tree = {
            "protocol": self.protocol,
            "means": {g: {m: _finite(self.mean(m, g)) for m in self.methods()} for g in self.groups()},
            "worst": {
                method: {
                    metric.name: [
                        {"group": w.group, "clip": w.clip, "frame": w.frame, "value": _number(w.value)}
                        for w in self.worst(method, metric.name)
                    ]
                    for metric in self.metrics
                }
                for method in self.methods()
            },
            "scores": [
                {
                    "clip": s.clip,
                    "group": s.group,
                    "method": s.method,
                    "values": _finite(s.values),
                    "seconds_per_frame": s.seconds_per_frame,
                    "frames": {name: [_number(v) for v in values.tolist()] for name, values in s.frames.items()},
                }
                for s in self.scores
            ],
        }
        return json.dumps(tree, indent=1)

    def save(self, folder: Path, name: str) -> None:
        """Write `name`.json, `name`.md and, with the values of every frame, `name`.csv into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(self.to_json() + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(self.to_markdown(clips=True), encoding="utf-8")
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["group", "clip", "method", "frame", *(metric.name for metric in self.metrics)])
            writer.writerows(self._frame_rows())

    def _frame_rows(self) -> Iterable[list[Any]]:
        for score in self.scores:
            columns = [score.frames[metric.name].tolist() for metric in self.metrics]
            for index, values in enumerate(zip(*columns, strict=True)):
                cells = ["" if math.isnan(value) else repr(value) for value in values]
                yield [score.group, score.clip, score.method, index, *cells]

    def _cells(self, values: Mapping[str, float]) -> list[str]:
        seconds = f"{values['seconds_per_frame']:.3f}"
        return [*(metric.text(values[metric.name]) for metric in self.metrics), seconds]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
