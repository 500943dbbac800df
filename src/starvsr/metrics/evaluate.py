"""Score methods on pairs of clips and lay the scores out as a table.

`evaluate` takes pairs (low-quality clip, ground truth) and methods (functions from one clip to another), so
it needs to know neither networks nor files. Every metric is averaged over the frames of a clip, then over
clips.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.fidelity import psnr_y, ssim
from starvsr.metrics.temporal import clip_warping_error
from starvsr.metrics.vmaf import vmaf

ByteArray = npt.NDArray[np.uint8]
Method = Callable[[ByteArray], ByteArray]
"""Takes a low-quality clip uint8 [T, h, w, 3] and returns uint8 [T, H, W, 3], both RGB."""
Metric = Callable[[ByteArray, ByteArray, int], npt.NDArray[np.float64]]
"""Takes gt, hq and the border crop in pixels; returns one value per frame or pair of frames."""

METRICS: dict[str, Metric] = {
    "psnr_y_db": lambda gt, hq, crop_px: psnr_y(gt, hq, crop_px=crop_px),
    "ssim_y": lambda gt, hq, crop_px: ssim(gt, hq, crop_px=crop_px),
    "vmaf_neg": lambda gt, hq, crop_px: vmaf(gt, hq, crop_px=crop_px),
    "warping_error_x1e3": lambda gt, hq, crop_px: clip_warping_error(hq, gt, crop_px=crop_px),
}
HIGHER_IS_BETTER = {"psnr_y_db": True, "ssim_y": True, "vmaf_neg": True, "warping_error_x1e3": False}


@dataclass(frozen=True)
class ClipPair:
    """A low-quality clip and the ground truth it came from.

    Attributes:
        name: what the table calls it.
        group: clips of one group are averaged together, for example the degradation preset.
        lq: uint8 [T, h, w, 3] RGB.
        gt: uint8 [T, H, W, 3] RGB.
    """

    name: str
    group: str
    lq: ByteArray
    gt: ByteArray


@dataclass(frozen=True)
class Score:
    """One method on one clip: mean of each metric over the frames, and the time the method took."""

    clip: str
    group: str
    method: str
    values: dict[str, float]
    seconds_per_frame: float


@dataclass
class ScoreTable:
    """All scores of one evaluation and the protocol they were computed by."""

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
        names = chosen[0].values
        means = {name: _mean([score.values[name] for score in chosen]) for name in names}
        return means | {"seconds_per_frame": _mean([score.seconds_per_frame for score in chosen])}

    def to_markdown(self, *, clips: bool = False) -> str:
        """Lay out the means of each group and method, and with `clips` a second table with every clip."""
        rows = [
            [group, method, *_cells(self.mean(method, group))] for group in self.groups() for method in self.methods()
        ]
        names = list(self.scores[0].values) if self.scores else []
        text = _markdown(["group", "method", *names, "s/frame"], rows)
        if clips:
            each = [[s.group, s.clip, s.method, *_cells(s.values | {"t": s.seconds_per_frame})] for s in self.scores]
            text += "\n" + _markdown(["group", "clip", "method", *names, "s/frame"], each)
        return text

    def to_json(self) -> str:
        """Write protocol, means and all scores as JSON; values that are not finite become null."""
        means = {g: {m: _finite(self.mean(m, g)) for m in self.methods()} for g in self.groups()}
        scores = [vars(s) | {"values": _finite(s.values)} for s in self.scores]
        return json.dumps({"protocol": self.protocol, "means": means, "scores": scores}, indent=1)

    def save(self, folder: Path, name: str) -> None:
        """Write `name`.json and `name`.md into the folder, which is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(self.to_json() + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(self.to_markdown(clips=True), encoding="utf-8")


def evaluate(
    pairs: Iterable[ClipPair],
    methods: Mapping[str, Method],
    *,
    metrics: Sequence[str] = tuple(METRICS),
    crop_px: int = 8,
    on_result: Callable[[ClipPair, str, ByteArray, Score], None] | None = None,
) -> ScoreTable:
    """Run every method on every pair and score it.

    Args:
        pairs: read one after another, so a generator keeps memory low.
        methods: name to method.
        metrics: names out of `METRICS`.
        crop_px: pixels cut from each border before any metric: networks guess there, and so does the blur of
            the degradation. VMAF then also loses a last odd row or column.
        on_result: called after each score with the pair, the method's name, its clip and the score.

    Returns:
        The table. Its protocol tells metrics, crop, flow and model: without them no number can be compared.

    Raises:
        OptionError: a metric is unknown, or a method returns another shape than the ground truth.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise OptionError(f"unknown metric {unknown[0]!r}: choose from {', '.join(METRICS)}")
    table = ScoreTable(protocol=_protocol(metrics, crop_px))
    for pair in pairs:
        for method, upscale in methods.items():
            start = time.perf_counter()
            hq = upscale(pair.lq)
            seconds = (time.perf_counter() - start) / len(pair.lq)
            if hq.shape != pair.gt.shape:
                raise OptionError(f"{method} made {hq.shape} of {pair.name}, wanted {pair.gt.shape}: check its scale")
            values = {name: _mean(METRICS[name](pair.gt, hq, crop_px).tolist()) for name in metrics}
            score = Score(pair.name, pair.group, method, values, seconds)
            table.scores.append(score)
            if on_result is not None:
                on_result(pair, method, hq, score)
    return table


def _protocol(metrics: Sequence[str], crop_px: int) -> dict[str, object]:
    notes = {
        "psnr_y_db": "BT.601 studio luma, mean of dB over frames",
        "ssim_y": "BT.601 studio luma, Gaussian 11 taps sigma 1.5, interior only",
        "vmaf_neg": "libvmaf vmaf_v0.6.1neg, 8-bit yuv420p BT.709, mean over frames",
        "warping_error_x1e3": "OpenCV DIS medium flow of ground truth (not RAFT), Lai mask, border clamped",
    }
    return {"metrics": {name: notes[name] for name in metrics}, "crop_px": crop_px}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _cells(values: Mapping[str, float]) -> list[str]:
    return [f"{value:.4f}" if name == "ssim_y" else f"{value:.3f}" for name, value in values.items()]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
