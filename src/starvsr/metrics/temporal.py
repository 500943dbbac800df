"""Temporal stability: the warping error between neighbouring frames.

`warping_error` takes flows from anywhere; by default they are estimated by DIS (:mod:`starvsr.models.flow`). Published
warping errors come from FlowNet2 or RAFT on frame sizes and masks that the papers do not state, so values from here
compare methods measured here, by the same estimator, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from starvsr.errors import OptionError
from starvsr.metrics.flow_choice import estimate_flow
from starvsr.metrics.metric import ByteArray, FlowPair, FrameSet, Metric
from starvsr.metrics.warping import planes_of, read_moved, strips
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.workers import workers

Border = Literal["clamp", "inside"]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def occluded(forward: FloatArray, backward: FloatArray) -> BoolArray:
    """Mark pixels that the next frame does not show, and motion boundaries.

    Source: Lai et al. 2018 (fast blind video consistency): forward-backward consistency
    |B(x+F)+F|^2 > 0.01 (|B(x+F)|^2 + |F|^2) + 0.5, or flow gradient |grad F|^2 > 0.01 |F|^2 + 0.002.

    Args:
        forward: flow from t to t+1, float32 [H, W, 2] in pixels.
        backward: flow from t+1 to t, same shape.

    Returns:
        bool [H, W], true where occluded.
    """
    found = []
    for rows in strips(*forward.shape[:2]):
        x, y = _rows_of(forward, rows)
        height = rows.stop - rows.start
        found.append(_occluded(x, y, read_moved([backward], [x[:height], y[:height]], rows)))
    return np.concatenate(found)


def _rows_of(flow: FloatArray, rows: slice) -> list[FloatArray]:
    """Return the components of a flow in some rows and, where there is one, the row below."""
    return planes_of(flow[rows.start : rows.stop + 1])


def _occluded(x: FloatArray, y: FloatArray, returned: Sequence[FloatArray]) -> BoolArray:
    """Mark occluded pixels in some rows.

    Args:
        x: the forward flow in them and in the row below, [h, W] or [h + 1, W].
        y: the same of its other component.
        returned: the backward flow, fetched at x + forward(x), its two components [h, W].
    """
    height = len(returned[0])
    there = [x[:height], y[:height]]
    size = _sum_of_squares(there)
    most = _sum_of_squares(returned)
    most += size
    most *= 0.01
    most += 0.5
    away = [a + b for a, b in zip(returned, there, strict=True)]
    inconsistent = _sum_of_squares(away, out=away[0]) > most
    gradient = np.zeros_like(size)
    below = min(height, len(x) - 1)
    gradient[:below] = _sum_of_squares([one[1 : below + 1] - one[:below] for one in (x, y)])
    gradient[:, :-1] += _sum_of_squares([one[:, 1:] - one[:, :-1] for one in there])
    size *= 0.01
    size += 0.002
    return np.asarray(np.logical_or(inconsistent, gradient > size, out=inconsistent))


def _sum_of_squares(planes: Sequence[FloatArray], out: FloatArray | None = None) -> FloatArray:
    """Return the sum of the squares of some planes [h, W]; ``out`` may be the first of them."""
    total = np.multiply(planes[0], planes[0], out=out)
    squared = np.empty_like(total)
    for plane in planes[1:]:
        total += np.multiply(plane, plane, out=squared)
    return total


def warping_error(
    frame: ByteArray,
    following: ByteArray,
    forward: FloatArray,
    backward: FloatArray | None = None,
    *,
    border: Border = "clamp",
) -> float:
    """Measure how far `following`, warped back, is from `frame`: 1000 x mean squared error.

    Args:
        frame: uint8 [H, W, 3].
        following: the next frame, same shape.
        forward: flow from `frame` to `following`, float32 [H, W, 2] in pixels.
        backward: the opposite flow; with it occluded pixels and motion boundaries are left out.
        border: "clamp" repeats the border for pixels that move out of the picture (as Lai et al.),
            "inside" leaves them out.

    Returns:
        1000 x the mean over visible pixels and channels of the squared difference of values in [0, 1]; over
        all pixels where none is visible. The formula in Lai et al.'s paper sums the channels:
        three times this value.
    """
    pictures: list[npt.NDArray[np.generic]] = [following, *([] if backward is None else [backward])]
    sums: dict[int, tuple[float, float, int]] = {}

    def measure(rows: slice) -> None:
        height = rows.stop - rows.start
        x, y = _rows_of(forward, rows)
        found = read_moved(pictures, [x[:height], y[:height]], rows)
        for plane, first in zip(found, planes_of(frame[rows]), strict=False):  # what follows them is the flow
            plane -= first
        squared = _sum_of_squares(found[:3])
        visible = np.ones(squared.shape, bool)
        if backward is not None:
            visible = ~_occluded(x, y, found[3:])
        if border == "inside":
            visible &= _lands_inside(x[:height], y[:height], rows, len(frame))
        seen = float((squared * visible).sum(dtype=np.float64))
        sums[rows.start] = (seen, float(squared.sum(dtype=np.float64)), int(np.count_nonzero(visible)))

    with workers(torch.device("cpu")) as threads:
        threads.run(partial(measure, rows) for rows in strips(*frame.shape[:2]))
    seen, every, num_seen = (sum(column) for column in zip(*(sums[start] for start in sorted(sums)), strict=True))
    mean = seen / num_seen if num_seen else every / (frame.shape[0] * frame.shape[1])
    return 1000.0 * mean / (frame.shape[2] * 255.0**2)


def estimate_flows(frame: ByteArray, following: ByteArray, estimator: FlowEstimator | None = None) -> FlowPair:
    """Estimate the flow between two frames, both ways.

    Args:
        frame: uint8 [H, W, 3] RGB, at least 16 pixels high and wide.
        following: the next frame, same shape.
        estimator: None for DIS.

    Raises:
        OptionError: the estimator's package is missing, or the frames are too small.
    """
    estimator = estimator or DisFlow()
    return FlowPair(estimate_flow(frame, following, estimator), estimate_flow(following, frame, estimator))


def clip_warping_error(
    hq: ByteArray,
    guide: ByteArray,
    *,
    border: Border = "clamp",
    crop_px: int = 0,
    estimator: FlowEstimator | None = None,
) -> npt.NDArray[np.float64]:
    """Measure the warping error of each pair of neighbouring frames with the flow of a guide clip.

    The flow comes from the guide (the ground truth, or the enlarged input where there is none), never from
    the result: otherwise a blurry or flickering result would choose its own ruler.

    Args:
        hq: the result, uint8 [T, H, W, 3].
        guide: same shape.
        border: see `warping_error`.
        crop_px: pixels cut from each border before anything else.
        estimator: of the flow; None for DIS.

    Returns:
        float64 [T-1], each as `warping_error`; empty for a single frame.

    Raises:
        OptionError: shapes differ, or the estimator's package is missing.
    """
    if hq.shape != guide.shape:
        raise OptionError(f"hq {hq.shape} and guide {guide.shape} must have one shape: resize the guide")
    inner = np.s_[:, crop_px : hq.shape[1] - crop_px, crop_px : hq.shape[2] - crop_px]
    hq, guide = hq[inner], guide[inner]
    errors = []
    for t in range(len(hq) - 1):
        flows = estimate_flows(guide[t], guide[t + 1], estimator)
        errors.append(warping_error(hq[t], hq[t + 1], flows.forward, flows.backward, border=border))
    return np.array(errors, np.float64)


def _lands_inside(x: FloatArray, y: FloatArray, rows: slice, height: int) -> BoolArray:
    width = x.shape[1]
    down, across = np.mgrid[rows, :width]
    there, below = across + x, down + y
    return np.asarray((there >= 0) & (there <= width - 1) & (below >= 0) & (below <= height - 1))


def _compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    before: ByteArray | None = None
    for frame in frames:
        flows = frame.flow_pair
        if before is None or flows is None:
            yield float("nan")
        else:
            yield warping_error(before, frame.hq, flows.forward, flows.backward)
        before = frame.hq


WARPING_ERROR = Metric(
    name="warping_error_x1e3",
    unit="1e-3",
    higher_is_better=False,
    needs=frozenset({"flow"}),
    protocol="mean squared error of the next frame warped back, mask of Lai et al., border clamped",
    compute=_compute,
)
