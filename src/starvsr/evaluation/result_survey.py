"""What a result without ground truth adds to its input, and where: sums over the frames of a clip, in one pass.

It reads frames as a metric does, beside the others, and holds no more of the clip than a map of cells and one picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from starvsr.evaluation.regions import KINDS, kinds_of
from starvsr.evaluation.shown_frames import smaller
from starvsr.metrics.consistency import added_detail
from starvsr.metrics.metric import ByteArray, FrameSet, Metric
from starvsr.metrics.seams import frame_line_ratios

NAME = "survey of the result"

_MOST_LINES = 0.95
"""Share of all lines of a frame that a border of tiles is held against: pictures have lines, too."""


@dataclass(frozen=True)
class Borders:
    """Where a job cut its video, in the frames and pixels of the result.

    Attributes:
        segments: First frames of segments that continue a shot.
        cuts: Number of scene cuts, where segments begin anew.
        columns: x of the first pixel right of each vertical border of tiles.
        rows: y of the first pixel below each horizontal one.
        plan: The plan in words.
    """

    segments: tuple[int, ...] = ()
    cuts: int = 0
    columns: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    plan: str = ""


class ResultSurvey:
    """Sums up what a result adds.

    Args:
        borders: where it was cut; None where that is not known.
    """

    def __init__(self, borders: Borders | None = None) -> None:
        self._borders = borders
        self._num_frames = 0
        self._lines = [np.zeros(len(places)) for places in (borders.columns, borders.rows)] if borders else []
        self._elsewhere = np.zeros(2)
        self._energy: npt.NDArray[np.float64] | None = None
        self._kinds = np.zeros(0)
        self._energy_of = np.zeros(len(KINDS))
        self._most = -1.0
        self.picture: ByteArray | None = None
        """The frame with most added detail, made smaller."""
        self.picture_index = 0

    @property
    def metric(self) -> Metric:
        """What frames are given to; its values mean nothing."""
        return Metric(
            name=NAME,
            unit="",
            higher_is_better=False,
            needs=frozenset({"lq"}),
            protocol="",
            compute=self._watch,
        )

    def _watch(self, frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        for index, frame in enumerate(frames):
            self._see(index, frame)
            yield math.nan

    def _see(self, index: int, frame: FrameSet) -> None:
        kinds = kinds_of(frame.lq)
        squares = torch.from_numpy(added_detail(frame.hq, frame.lq)).square_()[None, None]
        energy = np.asarray(F.adaptive_avg_pool2d(squares, kinds.shape)[0, 0].double().numpy())
        if self._energy is None:
            self._energy, self._kinds = np.zeros(kinds.shape), np.zeros((len(KINDS), *kinds.shape))
        self._energy += energy
        for number in range(len(KINDS)):
            chosen = kinds == number
            self._kinds[number] += chosen
            self._energy_of[number] += energy[chosen].sum()
        if self._borders is not None and (self._borders.columns or self._borders.rows):
            places = (self._borders.columns, self._borders.rows)
            for axis, ratios in enumerate(frame_line_ratios(frame, "lq")):
                self._lines[axis] += [ratios[place - 1] for place in places[axis]]
                self._elsewhere[axis] += np.quantile(ratios, _MOST_LINES)
        self._num_frames += 1
        if energy.mean() > self._most:
            self._most = float(energy.mean())
            self.picture, self.picture_index = smaller(frame.hq), index

    def tree(self) -> dict[str, Any]:
        """Return what was found as JSON holds it; {} before any frame.

        Maps are rows of cells: "added" is RMS in levels, those of kinds the share of frames.
        """
        if self._energy is None:
            return {}
        counts = self._kinds.sum((1, 2))
        kinds = {
            name: {
                "share": round(float(counts[number] / counts.sum()), 4),
                "added": round(math.sqrt(self._energy_of[number] / counts[number]), 3) if counts[number] else None,
                "map": (self._kinds[number] / self._num_frames).round(2).tolist(),
            }
            for number, name in enumerate(KINDS)
        }
        added = np.sqrt(self._energy / self._num_frames).round(3).tolist()
        found: dict[str, Any] = {"frames": self._num_frames, "added": added, "kinds": kinds}
        if self._borders is not None:
            found["borders"] = self._border_tree(self._borders)
        return found

    def _border_tree(self, borders: Borders) -> dict[str, Any]:
        columns, rows = (
            [[place, round(float(total / self._num_frames), 3)] for place, total in zip(places, sums, strict=True)]
            for places, sums in zip((borders.columns, borders.rows), self._lines, strict=True)
        )
        return {
            "plan": borders.plan,
            "segments": list(borders.segments),
            "cuts": borders.cuts,
            "columns": columns,
            "rows": rows,
            "lines_95": (self._elsewhere / self._num_frames).round(3).tolist(),
        }
