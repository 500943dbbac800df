"""Dense inverse search (DIS), a classical method on the CPU, through OpenCV (extra "eval").

Not a learned method such as RAFT or FlowNet2: values measured with it compare with each other only.

Source: Kroeger et al. 2016 (arXiv 1603.03590).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.video.pixels import from_unit

MIN_SIDE_PX = 16

ByteArray = npt.NDArray[np.uint8]
FlowArray = npt.NDArray[np.float32]


class ByteFlow(ABC):
    """A :class:`~starvsr.models.flow.estimator.FlowEstimator` that works on pictures of 8-bit luma."""

    name: str

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        """Return the flow [B, 2, H, W] from frames to others, see the protocol.

        Raises:
            OptionError: OpenCV is not installed, or a side is below 16 pixels.
        """
        _check_size(*frames.shape[-2:])
        pictures = [from_unit(clip.transpose(0, 1), 8).astype(np.uint8, copy=False) for clip in (frames, others)]
        flows = [self.of_bytes(a, b) for a, b in zip(*pictures, strict=True)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(frames.device)

    def of_bytes(self, frame: ByteArray, other: ByteArray) -> FlowArray:
        """Return the flow, float32 [H, W, 2], from a frame to another one, both uint8 [H, W, 3] RGB.

        Raises:
            OptionError: OpenCV is not installed, or a side is below 16 pixels.
        """
        _check_size(*frame.shape[:2])
        cv2 = opencv()
        gray = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (frame, other)]
        return self.estimate(gray[0], gray[1])

    @abstractmethod
    def estimate(self, gray: ByteArray, other: ByteArray) -> FlowArray:
        """Return the flow [H, W, 2] between pictures of luma, uint8 [H, W]."""


class DisFlow(ByteFlow):
    """A :class:`~starvsr.models.flow.estimator.FlowEstimator`: DIS with the preset "medium", on 8-bit luma."""

    name = "OpenCV DIS, preset medium"

    def estimate(self, gray: ByteArray, other: ByteArray) -> FlowArray:
        """Return the flow [H, W, 2] between pictures of luma."""
        cv2 = opencv()
        estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return np.asarray(estimator.calc(gray, other, None), np.float32)


def load_dis() -> DisFlow:
    """Return the method, once it is known that it can work.

    Raises:
        OptionError: OpenCV is not installed.
    """
    opencv()
    return DisFlow()


def opencv() -> Any:
    """Return the module cv2.

    Raises:
        OptionError: OpenCV is not installed.
    """
    try:
        return import_module("cv2")
    except ImportError as error:
        raise OptionError("optical flow needs OpenCV, which is not installed: pip install 'starvsr[eval]'") from error


def _check_size(height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE_PX:
        raise OptionError(f"flow needs frames of at least {MIN_SIDE_PX}x{MIN_SIDE_PX} px, got {width}x{height}")
