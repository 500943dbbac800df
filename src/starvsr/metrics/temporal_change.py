"""How a result changes from frame to frame, beside how the ground truth does: tOF, tLP, and StableVSR's warping error.

tOF compares optical flow, tLP a perceptual distance. Both come from TecoGAN (Chu et al. 2020, arXiv 1811.09393) and
are defined here as the evaluation of StableVSR (arXiv 2311.15908) computes them, whose published numbers rest on
RAFT-large and on LPIPS (AlexNet). The metric in the registry takes the flow that is asked for, by default DIS: values
compare with others of the same flow only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from starvsr.families.stablevsr.warp import published_warp
from starvsr.metrics.metric import FrameSet, Metric
from starvsr.models.flow.estimator import FlowEstimator

Distance = Callable[[Tensor, Tensor], Tensor]
"""Perceptual distance of two pictures [1, 3, H, W] in [-1, 1], such as LPIPS; a scalar."""


def flow_change(
    hq: Tensor, hq_before: Tensor, gt: Tensor, gt_before: Tensor, estimator: FlowEstimator, *, released: bool = False
) -> float:
    """Compute tOF: how far the flow between two frames of a result is from that of the ground truth.

    Args:
        hq: a frame of the result, [1, 3, H, W] in [-1, 1].
        hq_before: the frame before it.
        gt: the frame of the ground truth.
        gt_before: the frame before it.
        estimator: of the flow from a frame to the one before.
        released: give the estimator values in [0, 1] as the released evaluation does, although RAFT was trained on
            [-1, 1]: needed to compare with published numbers.

    Returns:
        Mean over pixels and both components of the absolute difference, in pixels; published tables show 10 times it.
    """
    hq, hq_before, gt, gt_before = ((x + 1) / 2 if released else x for x in (hq, hq_before, gt, gt_before))
    return (estimator(hq, hq_before) - estimator(gt, gt_before)).abs().mean().item()


def perceptual_change(hq: Tensor, hq_before: Tensor, gt: Tensor, gt_before: Tensor, distance: Distance) -> float:
    """Compute tLP: how far the perceptual change between two frames of a result is from that of the ground truth.

    Args:
        hq: a frame of the result, [1, 3, H, W] in [-1, 1].
        hq_before: the frame before it.
        gt: the frame of the ground truth.
        gt_before: the frame before it.
        distance: LPIPS for published numbers.

    Returns:
        The absolute difference of two distances; published tables show 1000 times it.
    """
    return (distance(gt, gt_before) - distance(hq, hq_before)).abs().item()


def released_visible(flow: Tensor, back: Tensor) -> Tensor:
    """Mark the pixels of a frame that StableVSR's evaluation counts: those that the frame before shows, too.

    The test is that of Lai et al. 2018 (see :func:`starvsr.metrics.temporal.occluded`), with the released warp.

    Args:
        flow: from the frame to the one before, [B, 2, H, W] in pixels.
        back: from the one before to the frame.

    Returns:
        bool [B, H, W].
    """
    returned = published_warp(back, flow)
    size = flow.square().sum(1)
    inconsistent = (returned + flow).square().sum(1) > 0.01 * (returned.square().sum(1) + size) + 0.5
    gradient = torch.zeros_like(size)
    gradient[..., :-1] += flow.diff(dim=-1).square().sum(1)
    gradient[..., :-1, :] += flow.diff(dim=-2).square().sum(1)
    return ~(inconsistent | (gradient > 0.01 * size + 0.002))


def released_warping_error(frame: Tensor, before: Tensor, flow: Tensor, back: Tensor | None = None) -> float:
    """Compute the warping error of StableVSR's released code.

    It warps as its model does (see :func:`published_warp`), half a pixel off at the edges. For measuring use
    :func:`starvsr.metrics.temporal.warping_error`; this one is for comparing with numbers of theirs.

    Args:
        frame: [1, 3, H, W].
        before: the frame before it.
        flow: from the frame to the one before, of the ground truth, [1, 2, H, W] in pixels.
        back: from the one before to the frame; with it only pixels count that both show.

    Returns:
        Mean squared difference over what counts, in the square of the frames' range.
    """
    difference = frame - published_warp(before, flow)
    if back is None:
        return difference.square().mean().item()
    visible = released_visible(flow, back)[:, None].to(frame)
    return ((visible * difference).square().sum() / (3 * visible.sum() + 1e-10)).item()


def _compute(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    for frame in frames:
        motion = frame.motion_pair
        yield float("nan") if motion is None else 10 * float(np.abs(motion.hq - motion.gt).mean(dtype=np.float64))


TOF = Metric(
    name="tof_x10",
    unit="0.1 px",
    higher_is_better=False,
    needs=frozenset({"gt", "motion"}),
    protocol="optical flow to the frame before against the ground truth's, mean absolute difference of both components",
    compute=_compute,
)
