"""Dense inverse search (DIS), a classical method on the CPU, through OpenCV (extra "eval").

Not a learned method such as RAFT or FlowNet2: values measured with it compare with each other only.

Source: Kroeger et al. 2016 (arXiv 1603.03590).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.video.pixels import from_unit

MIN_SIDE_PX = 16


class DisFlow:
    """A :class:`~starvsr.models.flow.estimator.FlowEstimator`: DIS with the preset "medium", on 8-bit luma."""

    name = "OpenCV DIS, preset medium"

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        """Return the flow [B, 2, H, W] from frames to others, see the protocol.

        Raises:
            OptionError: OpenCV is not installed, or a side is below 16 pixels.
        """
        height, width = frames.shape[-2:]
        if min(height, width) < MIN_SIDE_PX:
            raise OptionError(f"flow needs frames of at least {MIN_SIDE_PX}x{MIN_SIDE_PX} px, got {width}x{height}")
        pictures = [from_unit(clip.transpose(0, 1), 8).astype(np.uint8, copy=False) for clip in (frames, others)]
        flows = [_estimate(a, b) for a, b in zip(*pictures, strict=True)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(frames.device)


def load_dis() -> DisFlow:
    """Return the method, once it is known that it can work.

    Raises:
        OptionError: OpenCV is not installed.
    """
    _opencv()
    return DisFlow()


def _opencv() -> Any:
    try:
        return import_module("cv2")
    except ImportError as error:
        raise OptionError("optical flow needs OpenCV, which is not installed: pip install 'starvsr[eval]'") from error


def _estimate(frame: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    cv2 = _opencv()
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (frame, other)]
    return np.asarray(estimator.calc(gray[0], gray[1], None), np.float32)
