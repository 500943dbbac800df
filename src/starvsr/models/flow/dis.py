"""Dense inverse search (DIS), a classical method on the CPU, through OpenCV (extra "eval").

Not a learned method such as RAFT or FlowNet2: values measured with it compare with each other only.

Source: Kroeger et al. 2016 (arXiv 1603.03590).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.video.pixels import from_unit

MIN_SIDE_PX = 16
_MIN_SIDE_FAST_PX, _MIN_SIDE_KEPT_PX = 32, 64

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


DisPreset = Literal["medium", "fast"]


class DisFlow(ByteFlow):
    """A :class:`~starvsr.models.flow.estimator.FlowEstimator`: DIS on 8-bit luma.

    OpenCV's object and its buffers are kept for each thread that estimates, as long as this one lives.

    Args:
        preset: of OpenCV. "medium" estimates down to half the resolution; "fast" stops at a quarter, takes about a
            fifth of the time, and refuses frames with a side below 32 px.
    """

    def __init__(self, preset: DisPreset = "medium") -> None:
        self.name = f"OpenCV DIS, preset {preset}"
        self._preset = preset
        self._of_thread = threading.local()

    def __reduce__(self) -> tuple[type[DisFlow], tuple[DisPreset]]:
        return DisFlow, (self._preset,)

    def estimate(self, gray: ByteArray, other: ByteArray) -> FlowArray:
        """Return the flow [H, W, 2] between pictures of luma."""
        if self._preset == "fast" and min(gray.shape) < _MIN_SIDE_FAST_PX:  # OpenCV 5.0 crashes on some of them
            height, width = gray.shape
            raise OptionError(
                f"flow of {self.name} needs frames of at least {_MIN_SIDE_FAST_PX}x{_MIN_SIDE_FAST_PX} px, "
                f'got {width}x{height}: take the preset medium ("dis")'
            )
        return np.asarray(self._estimator(*gray.shape).calc(gray, other, None), np.float32)

    def _estimator(self, height: int, width: int) -> Any:
        """Return OpenCV's object; for frames so small that it changes its own settings, a new one."""
        if min(height, width) < _MIN_SIDE_KEPT_PX or max(height, width) < 2 * _MIN_SIDE_KEPT_PX:
            return self._new()
        if not hasattr(self._of_thread, "estimator"):
            self._of_thread.estimator = self._new()
        return self._of_thread.estimator

    def _new(self) -> Any:
        cv2 = opencv()
        return cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self._preset.upper()}"))


def load_dis(preset: DisPreset = "medium") -> DisFlow:
    """Return the method, once it is known that it can work.

    Raises:
        OptionError: OpenCV is not installed.
    """
    opencv()
    return DisFlow(preset)


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
