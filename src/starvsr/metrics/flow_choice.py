"""Which optical flow the temporal metrics rest on: the method, and the clip that it is estimated from."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, FlowArray
from starvsr.models.flow.dis import ByteFlow, DisFlow, load_dis
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.farneback import load_farneback
from starvsr.models.flow.raft import MIN_SIDE_PX, MULTIPLE_PX, RaftFlow, check_raft, load_raft
from starvsr.video.pixels import to_unit

FlowName = Literal["dis", "dis-fast", "farneback", "raft"]
FLOW_NAMES: tuple[FlowName, ...] = ("dis", "dis-fast", "farneback", "raft")

FlowSource = Literal["auto", "gt", "lq", "hq"]
"""The clip that flow is estimated from: the ground truth, the low-quality input enlarged (bicubic), the result itself,
or ("auto") the ground truth where there is one and else the input. Flow of the result lets a blurred or flickering
result choose its own ruler: it is there for clips that come with nothing else."""
FLOW_SOURCES: tuple[FlowSource, ...] = ("auto", "gt", "lq", "hq")


class FittedRaft:
    """RAFT-large on frames of any size: sides are padded at the right and the bottom by repeating the border."""

    name = f"{RaftFlow.name}, padded to multiples of {MULTIPLE_PX}"

    def __init__(self, raft: RaftFlow, device: str = "cpu") -> None:
        self._raft, self._device = raft, device

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        """Return the flow [B, 2, H, W] from frames to others, see the protocol."""
        height, width = frames.shape[-2:]
        right, below = (max(-side % MULTIPLE_PX, MIN_SIDE_PX - side) for side in (width, height))
        moved = [clip.to(self._device) for clip in (frames, others)]
        padded = [F.pad(clip, (0, right, 0, below), mode="replicate") for clip in moved]
        return self._raft(*padded)[..., :height, :width].to(frames.device)


def choose_flow(flow: FlowName | FlowEstimator | None, device: str = "cpu") -> FlowEstimator:
    """Return an estimator by its name; one that is given stays what it is, None is DIS without a look at its package.

    Args:
        flow: "dis", "dis-fast" and "farneback" compute on the CPU through OpenCV; "raft" is torchvision's RAFT-large,
            whose weights (20 MB) it downloads once.
        device: where RAFT computes.

    Raises:
        OptionError: an unknown name, or its package is missing.
        WeightsError: the weights of RAFT cannot be got.
    """
    if flow is None:
        return DisFlow()
    if not isinstance(flow, str):
        return flow
    if flow == "dis":
        return load_dis()
    if flow == "dis-fast":
        return load_dis("fast")
    if flow == "farneback":
        return load_farneback()
    if flow == "raft":
        return FittedRaft(load_raft(device), device)
    raise OptionError(f"unknown flow {flow!r}: choose from {', '.join(FLOW_NAMES)}")


def check_flow(flow: FlowName | FlowEstimator | None) -> None:
    """Refuse a flow whose package is missing; nothing is loaded or downloaded.

    Raises:
        OptionError: an unknown name, or its package is missing.
    """
    if flow == "raft":
        check_raft()
    elif flow is None or isinstance(flow, str):
        choose_flow(flow or "dis")


def estimate_flow(frame: ByteArray, other: ByteArray, estimator: FlowEstimator) -> FlowArray:
    """Estimate the flow, float32 [H, W, 2] in pixels, from a frame to another one, both uint8 [H, W, 3] RGB."""
    if isinstance(estimator, ByteFlow):
        return estimator.of_bytes(frame, other)
    with torch.inference_mode():
        pair = to_unit(np.stack([frame, other]), 8).transpose(0, 1)  # [2, 3, H, W]
        return np.asarray(estimator(pair[:1], pair[1:])[0].permute(1, 2, 0).cpu().numpy(), np.float32)
