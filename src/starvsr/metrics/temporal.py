"""Temporal stability: the warping error between neighbouring frames.

`warping_error` takes flows from anywhere; by default they are estimated by DIS (:mod:`starvsr.models.flow`). Published
warping errors come from FlowNet2 or RAFT on frame sizes and masks that the papers do not state, so values from here
compare methods measured here, by the same estimator, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.metrics.flow_choice import estimate_flow
from starvsr.metrics.metric import ByteArray, FlowPair, FrameSet, Metric
from starvsr.metrics.warping import Sampler, strips
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
    sampler = Sampler(backward)
    return np.concatenate([_occluded(forward, rows, sampler(forward, rows)) for rows in strips(len(forward))])


def _occluded(forward: FloatArray, rows: slice, returned: Tensor) -> BoolArray:
    """Mark occluded pixels in some rows.

    Args:
        forward: as `occluded`.
        rows: which.
        returned: the backward flow, fetched at x + forward(x), [2, h, W].
    """
    below = torch.from_numpy(np.array(forward[rows.start : rows.stop + 1])).permute(2, 0, 1).contiguous()
    there = below[:, : rows.stop - rows.start]
    size = _squared_length(there)
    most = _squared_length(returned).add_(size).mul_(0.01).add_(0.5)
    inconsistent = _squared_length(returned + there) > most
    gradient = torch.zeros_like(size)
    gradient[: below.shape[1] - 1] += _squared_length(below.diff(dim=1))
    gradient[:, :-1] += _squared_length(there.diff(dim=2))
    return np.asarray(inconsistent.logical_or_(gradient > size.mul_(0.01).add_(0.002)).numpy())


def _squared_length(planes: Tensor) -> Tensor:
    """Return the sum of the squares of some planes [C, h, w], each read once."""
    total = planes[0].square()
    for plane in planes[1:]:
        total.addcmul_(plane, plane)
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
    sampler = Sampler(following, *([] if backward is None else [backward]))
    sums: dict[int, tuple[float, float, int]] = {}

    def measure(rows: slice) -> None:
        found = sampler(forward, rows)
        first = torch.from_numpy(frame[rows]).permute(2, 0, 1).contiguous()
        squared = _squared_length(found[:3] - first).numpy()
        visible = np.ones(squared.shape, bool)
        if backward is not None:
            visible = ~_occluded(forward, rows, found[3:])
        if border == "inside":
            visible &= _lands_inside(forward, rows)
        seen = float((squared * visible).sum(dtype=np.float64))
        sums[rows.start] = (seen, float(squared.sum(dtype=np.float64)), int(np.count_nonzero(visible)))

    with workers(torch.device("cpu")) as threads:
        threads.run(partial(measure, rows) for rows in strips(len(frame)))
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


def _lands_inside(forward: FloatArray, rows: slice) -> BoolArray:
    height, width = forward.shape[:2]
    down, across = np.mgrid[rows, :width]
    x, y = across + forward[rows, :, 0], down + forward[rows, :, 1]
    return np.asarray((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))


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
