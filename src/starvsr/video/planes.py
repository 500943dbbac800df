"""The memory of decoded frames as arrays."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def rows(plane: Any, dtype: Any) -> NDArray[Any]:
    """View the memory of a plane as [rows, samples], padding included; writes go to the frame."""
    return np.frombuffer(plane, dtype=dtype).reshape(plane.height, -1)


def plane_of(frame: av.VideoFrame, index: int, dtype: Any) -> NDArray[Any]:
    """View a plane of a frame as [rows, columns], without the padding."""
    plane = frame.planes[index]
    return rows(plane, dtype)[:, : plane.width]
