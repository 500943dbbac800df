"""Seams: lines where tiles meet, and jumps where segments or windows of frames meet, against the interior.

`SEAM_LINES` and `SEAM_STEPS` need no knowledge of how a result was cut and say where the worst line and frame are;
`segment_seams` and `tile_seams` make metrics of borders that are known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.fidelity import to_luma
from starvsr.metrics.metric import FrameSet, Metric, per_frame

FloatArray = npt.NDArray[np.float64]

_NEIGHBOURS = 8
"""Lines or frames on each side that a border is compared with."""
_LEAST_STEP = 0.1
"""Levels added to both sides of a ratio: below that nobody sees a line, and a perfect result has none."""


def line_ratios(error: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compare each line between pixels of an error picture with the lines beside it.

    A step across a seam runs along the whole line, an edge of the picture along a part of it: the median over the line
    sees the one and not the other.

    Args:
        error: luma of the result minus that of the ground truth, [H, W].

    Returns:
        Median absolute step across each vertical line [W - 1] and each horizontal line [H - 1], by the median of the
        eight lines on each side of it; about 1 without a seam.
    """
    return _by_neighbours(np.median(np.abs(np.diff(error, axis=1)), axis=0)), _by_neighbours(
        np.median(np.abs(np.diff(error, axis=0)), axis=1)
    )


def _by_neighbours(steps: FloatArray) -> FloatArray:
    """Divide each value by the median of its neighbours, itself left out."""
    padded = np.pad(steps, _NEIGHBOURS, mode="reflect" if len(steps) > _NEIGHBOURS else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1)
    others = np.delete(windows, _NEIGHBOURS, axis=1)
    return np.asarray((steps + _LEAST_STEP) / (np.median(others, axis=1) + _LEAST_STEP))


def _error(frame: FrameSet) -> FloatArray:
    return to_luma(frame.hq, studio=False) - to_luma(frame.gt, studio=False)


def _worst_line(frame: FrameSet) -> float:
    return float(max(ratios.max() for ratios in line_ratios(_error(frame))))


def tile_seams(columns: Collection[int] = (), rows: Collection[int] = ()) -> Metric:
    """Make a metric of tiles whose borders are known.

    Args:
        columns: x of the first pixel right of each vertical border, in the frames as they are measured: without what
            ``crop_px`` cuts off.
        rows: y of the first pixel below each horizontal border.

    Raises:
        OptionError: no border is given, or one outside of a frame, then while measuring.
    """
    if not columns and not rows:
        raise OptionError("tile seams need at least one border: give columns or rows")

    def value(frame: FrameSet) -> float:
        height, width = frame.hq.shape[:2]
        outside = [*(x for x in columns if not 0 < x < width), *(y for y in rows if not 0 < y < height)]
        if outside:
            raise OptionError(f"a tile border at {outside[0]} lies outside of {width}x{height} frames")
        across, down = line_ratios(_error(frame))
        return float(np.mean([*(across[x - 1] for x in columns), *(down[y - 1] for y in rows)]))

    return Metric(
        name="tile_seams",
        unit="",
        higher_is_better=False,
        needs=frozenset({"gt"}),
        protocol=f"step of the luma error across {len(columns)} + {len(rows)} known lines by that of the lines beside",
        compute=per_frame(value),
        best=1.0,
    )


def _changes(frames: Iterator[FrameSet]) -> Iterator[float]:
    """Yield how much the error changes from the frame before, mean absolute value in levels; NaN for the first."""
    before: npt.NDArray[np.int16] | None = None
    for frame in frames:
        error = frame.hq.astype(np.int16) - frame.gt.astype(np.int16)
        yield math.nan if before is None else float(np.abs(error - before).mean())
        before = error


def _step_ratios(changes: Sequence[float]) -> list[float]:
    """Divide each change by the median of those of the eight frames before and after."""
    found = []
    for index, change in enumerate(changes):
        near = [*changes[max(0, index - _NEIGHBOURS) : index], *changes[index + 1 : index + 1 + _NEIGHBOURS]]
        known = [one for one in near if not math.isnan(one)]
        ratio = (change + _LEAST_STEP) / (float(np.median(known)) + _LEAST_STEP) if known else math.nan
        found.append(ratio)
    return found


def _compute_steps(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    yield from _step_ratios(list(_changes(frames)))


def segment_seams(borders: Collection[int]) -> Metric:
    """Make a metric of segments whose borders are known.

    Args:
        borders: indices of the first frames of segments; values stand at these frames alone.

    Raises:
        OptionError: no border is given.
    """
    if not borders:
        raise OptionError("segment seams need at least one border: give the first frames of segments")

    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        ratios = _step_ratios(list(_changes(frames)))
        yield from (ratio if index in borders else math.nan for index, ratio in enumerate(ratios))

    return Metric(
        name="segment_seams",
        unit="",
        higher_is_better=False,
        needs=frozenset({"gt"}),
        protocol=f"change of the error at {len(borders)} known frames by the median of the 8 frames before and after",
        compute=compute,
        best=1.0,
    )


SEAM_LINES = Metric(
    name="seam_lines",
    unit="",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol="largest ratio of a line's median step of the luma error to that of the 8 lines on each side",
    compute=per_frame(_worst_line),
)
SEAM_STEPS = Metric(
    name="seam_steps",
    unit="",
    higher_is_better=False,
    needs=frozenset({"gt"}),
    protocol="change of the error from the frame before by the median of the 8 frames before and after",
    compute=_compute_steps,
)
