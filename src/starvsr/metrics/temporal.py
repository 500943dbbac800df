"""Temporal stability: the warping error between neighbouring frames.

`warping_error` takes flows from anywhere; by default they are estimated by DIS (:mod:`starvsr.models.flow`). Published
warping errors come from FlowNet2 or RAFT on frame sizes and masks that the papers do not state, so values from here
compare methods measured here, by the same estimator, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, FlowPair, FrameSet, Metric
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.video.pixels import to_unit

Border = Literal["clamp", "inside"]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def warp(frame: npt.NDArray[np.floating], flow: FloatArray) -> npt.NDArray[np.floating]:
    """Fetch `frame` [H, W, C] at x + flow(x), bilinear, coordinates clamped to the border."""
    height, width = frame.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    x = np.clip(columns + flow[..., 0], 0, width - 1)
    y = np.clip(rows + flow[..., 1], 0, height - 1)
    x0 = np.minimum(x.astype(np.int64), max(width - 2, 0))
    y0 = np.minimum(y.astype(np.int64), max(height - 2, 0))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = frame[y0, x0] * (1 - fx) + frame[y0, x1] * fx
    bottom = frame[y1, x0] * (1 - fx) + frame[y1, x1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


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
    returned = warp(backward, forward)
    forward_norm = np.sum(forward.astype(np.float64) ** 2, axis=-1)
    disagreement = np.sum((returned + forward) ** 2, axis=-1)
    inconsistent = disagreement > 0.01 * (np.sum(returned**2, axis=-1) + forward_norm) + 0.5
    gradient = np.zeros(forward.shape[:2])
    gradient[:-1] += np.sum(np.diff(forward, axis=0) ** 2, axis=-1)
    gradient[:, :-1] += np.sum(np.diff(forward, axis=1) ** 2, axis=-1)
    return np.asarray(inconsistent | (gradient > 0.01 * forward_norm + 0.002))


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
    difference = warp(following / 255.0, forward) - frame / 255.0
    squared = np.mean(difference**2, axis=-1)
    visible = np.ones(squared.shape, bool) if backward is None else ~occluded(forward, backward)
    if border == "inside":
        visible &= _lands_inside(forward)
    return 1000.0 * float(squared[visible].mean() if visible.any() else squared.mean())


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
    pair = to_unit(np.stack([frame, following]), 8).transpose(0, 1)  # [2, 3, H, W]
    flows = [
        estimator(*ends)[0].permute(1, 2, 0).cpu().numpy() for ends in ((pair[:1], pair[1:]), (pair[1:], pair[:1]))
    ]
    return FlowPair(*flows)


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


def _lands_inside(flow: FloatArray) -> BoolArray:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + flow[..., 0], rows + flow[..., 1]
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
