"""A result beside its input: does it still show the same picture when reduced, and how much did it add?

Reducing is bicubic with antialiasing, as Pillow and MATLAB's imresize do. What is lost by reducing a result to the
input's size and enlarging it again lies in frequencies that the input cannot hold: whatever is there was added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from starvsr.errors import OptionError
from starvsr.metrics.metric import ByteArray, FrameSet, Metric, per_frame

_LUMA = (0.299, 0.587, 0.114)


def luma_plane(frame: ByteArray) -> Tensor:
    """Return full-range BT.601 luma, float32 [1, 1, H, W] in 0..255, of a frame uint8 [H, W, 3]."""
    return torch.from_numpy(frame @ np.array(_LUMA, np.float32))[None, None]


def consistency(hq: ByteArray, lq: ByteArray) -> float:
    """Return the PSNR of a result reduced to the size of its input against that input.

    Args:
        hq: uint8 [H, W, 3] RGB.
        lq: uint8 [h, w, 3], not larger.

    Returns:
        dB, one error over R, G and B, values not rounded; infinite where both are equal.

    Raises:
        OptionError: the result is smaller than the input.
    """
    small = _reduced(torch.from_numpy(hq.astype(np.float32)).permute(2, 0, 1)[None], lq).clamp_(0, 255)
    error = float(np.square(small[0].permute(1, 2, 0).numpy() - lq).mean(dtype=np.float64))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def added_detail(hq: ByteArray, lq: ByteArray) -> npt.NDArray[np.float32]:
    """Return what a result shows in frequencies that its input cannot hold: luma in levels, float32 [H, W].

    Args:
        hq: uint8 [H, W, 3] RGB.
        lq: uint8 [h, w, 3], not larger; its size alone counts.

    Raises:
        OptionError: the result is smaller than the input.
    """
    plane = luma_plane(hq)
    large = F.interpolate(_reduced(plane, lq), size=plane.shape[2:], mode="bicubic")
    return np.asarray((plane - large)[0, 0].numpy())


def input_error(frame: FrameSet) -> npt.NDArray[np.float32]:
    """Return luma of a result minus that of its input, enlarged by a bicubic filter: float32 [H, W] in levels."""
    plane = luma_plane(frame.hq)
    return np.asarray((plane - F.interpolate(luma_plane(frame.lq), size=plane.shape[2:], mode="bicubic"))[0, 0].numpy())


def _reduced(planes: Tensor, lq: ByteArray) -> Tensor:
    size = lq.shape[:2]
    if size[0] > planes.shape[2] or size[1] > planes.shape[3]:
        raise OptionError(
            f"a result of {planes.shape[3]}x{planes.shape[2]} is smaller than its input ({size[1]}x{size[0]}): it is "
            "not reduced to it"
        )
    if size == planes.shape[2:]:
        return planes
    return F.interpolate(planes, size=size, mode="bicubic", antialias=True)


def _added(frames: Iterator[FrameSet], /, *, device: str = "cpu") -> Iterator[float]:
    for frame in frames:
        yield math.sqrt(float(np.square(added_detail(frame.hq, frame.lq)).mean(dtype=np.float64)))


CONSISTENCY = Metric(
    name="consistency_lq_db",
    unit="dB",
    higher_is_better=True,
    needs=frozenset({"lq"}),
    protocol="PSNR over RGB of the result, reduced to the input's size (bicubic, antialiased), against the input",
    compute=per_frame(lambda frame: consistency(frame.hq, frame.lq)),
    of_single_frames=True,
    digits=2,
)
ADDED_DETAIL = Metric(
    name="added_detail_lq",
    unit="levels",
    higher_is_better=False,
    needs=frozenset({"lq"}),
    protocol="RMS of luma minus its copy reduced to the input's size and enlarged again (bicubic): nothing of it is in "
    "the input; more is no fault, but to be looked at",
    compute=_added,
    of_single_frames=True,
)
