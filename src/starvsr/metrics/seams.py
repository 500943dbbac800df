"""Seams: lines where tiles meet, and jumps where segments or windows of frames meet, against the interior.

`SEAM_LINES` and `SEAM_STEPS` need no knowledge of how a result was cut and say where the worst line and frame are;
`segment_seams` and `tile_seams` make metrics of borders that are known. Without a ground truth, the error is that
against the enlarged input (`SEAM_LINES_LQ`, `SEAM_STEPS_LQ`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.consistency import input_error
from starvsr.metrics.fidelity import to_luma
from starvsr.metrics.metric import Compute, FrameSet, Metric, per_frame

FloatArray = npt.NDArray[np.float64]
Reference = Literal["gt", "lq"]

_NEIGHBOURS = 8
"""Lines or frames on each side that a border is compared with."""
_LEAST_STEP = 0.1
"""Levels added to both sides of a ratio: below that nobody sees a line, and a perfect result has none."""


def line_ratios(error: FloatArray, period: int = 1) -> tuple[FloatArray, FloatArray]:
    """Compare each line between pixels of an error picture with the lines beside it.

    A step across a seam runs along the whole line, an edge of the picture along a part of it: the median over the line
    sees the one and not the other.

    Args:
        error: luma of the result minus that of the ground truth, [H, W].
        period: of the pattern that interpolation leaves in the error against an enlarged input, in pixels: a line must
            stand out from its neighbours and from those that are a multiple of it away.

    Returns:
        Median absolute step across each vertical line [W - 1] and each horizontal line [H - 1], by the median of the
        eight lines on each side of it; about 1 without a seam.
    """
    across = np.median(np.abs(np.diff(error, axis=1)), axis=0)
    down = np.median(np.abs(np.diff(error, axis=0)), axis=1)
    return _outstanding(across, period), _outstanding(down, period)


def _outstanding(steps: FloatArray, period: int) -> FloatArray:
    ratios = _by_neighbours(steps)
    if period == 1:
        return ratios
    for phase in range(period):
        ratios[phase::period] = np.minimum(ratios[phase::period], _by_neighbours(steps[phase::period]))
    return ratios


def _by_neighbours(steps: FloatArray) -> FloatArray:
    """Divide each value by the median of its neighbours, itself left out."""
    padded = np.pad(steps, _NEIGHBOURS, mode="reflect" if len(steps) > _NEIGHBOURS else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1)
    others = np.delete(windows, _NEIGHBOURS, axis=1)
    return np.asarray((steps + _LEAST_STEP) / (np.median(others, axis=1) + _LEAST_STEP))


def luma_error(frame: FrameSet, reference: Reference) -> FloatArray:
    """Return luma of a result minus that of its reference, [H, W] in levels; an input is enlarged first."""
    if reference == "lq":
        return input_error(frame).astype(np.float64)
    return to_luma(frame.hq, studio=False) - to_luma(frame.gt, studio=False)


def frame_line_ratios(frame: FrameSet, reference: Reference) -> tuple[FloatArray, FloatArray]:
    """Return what :func:`line_ratios` does of a frame."""
    period = max(1, frame.hq.shape[0] // frame.lq.shape[0]) if reference == "lq" else 1
    return line_ratios(luma_error(frame, reference), min(period, min(frame.hq.shape[:2]) - 1))


def _worst_line(reference: Reference) -> Compute:
    def value(frame: FrameSet) -> float:
        return float(max(ratios.max() for ratios in frame_line_ratios(frame, reference)))

    return per_frame(value)


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
        across, down = line_ratios(luma_error(frame, "gt"))
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


def _changes(frames: Iterator[FrameSet], reference: Reference) -> Iterator[float]:
    """Yield how much the error changes from the frame before, mean absolute value in levels; NaN for the first.

    The error against a ground truth is that of R, G and B, the one against an input that of luma.
    """
    before: Any = None
    for frame in frames:
        error: Any = input_error(frame) if reference == "lq" else frame.hq.astype(np.int16) - frame.gt.astype(np.int16)
        yield math.nan if before is None else float(np.abs(error - before).mean())
        before = error


def step_ratios(changes: Sequence[float]) -> list[float]:
    """Divide each change by the median of those of the eight frames before and after."""
    found = []
    for index, change in enumerate(changes):
        near = [*changes[max(0, index - _NEIGHBOURS) : index], *changes[index + 1 : index + 1 + _NEIGHBOURS]]
        known = [one for one in near if not math.isnan(one)]
        ratio = (change + _LEAST_STEP) / (float(np.median(known)) + _LEAST_STEP) if known else math.nan
        found.append(ratio)
    return found


def _steps(reference: Reference) -> Compute:
    def compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
        yield from step_ratios(list(_changes(frames, reference)))

    return compute


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
        ratios = step_ratios(list(_changes(frames, "gt")))
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


def _lines_metric(name: str, reference: Reference, words: str) -> Metric:
    return Metric(
        name=name,
        unit="",
        higher_is_better=False,
        needs=frozenset({reference}),
        protocol=f"largest ratio of a line's median step of the luma error{words} to that of the 8 lines on each side",
        compute=_worst_line(reference),
    )


def _steps_metric(name: str, reference: Reference, words: str) -> Metric:
    return Metric(
        name=name,
        unit="",
        higher_is_better=False,
        needs=frozenset({reference}),
        protocol=f"change of the error{words} from the frame before by the median of the 8 frames before and after",
        compute=_steps(reference),
    )


SEAM_LINES = _lines_metric("seam_lines", "gt", "")
SEAM_STEPS = _steps_metric("seam_steps", "gt", "")
SEAM_LINES_LQ = _lines_metric("seam_lines_lq", "lq", " against the enlarged input")
SEAM_STEPS_LQ = _steps_metric("seam_steps_lq", "lq", " against the enlarged input")
