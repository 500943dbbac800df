"""Frames warped by optical flow: bilinear, coordinates clamped to the border, whole numbers of pixels exact."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

FloatArray = npt.NDArray[np.float32]

STRIP_ROWS = 96
"""Rows that are worked on at once: what lies between two steps stays in the processor's cache."""


def strips(height: int) -> list[slice]:
    """Cut the rows of a frame into strips."""
    return [slice(start, min(start + STRIP_ROWS, height)) for start in range(0, height, STRIP_ROWS)]


def warp(frame: npt.NDArray[np.floating], flow: FloatArray) -> npt.NDArray[np.floating]:
    """Return `frame` [H, W, C] at x + flow(x), bilinear, coordinates clamped to the border."""
    sampler = Sampler(frame)
    return np.asarray(torch.cat([sampler(flow, rows) for rows in strips(len(frame))], 1).permute(1, 2, 0).numpy())


class Sampler:
    """Reads pictures at x + flow(x).

    ``grid_sample`` scales coordinates by half of the sides minus 1. The planes are therefore viewed as parts of larger
    ones with sides of 2^k + 1, where that factor is a power of two, so that whole numbers of pixels are read exactly;
    what lies outside of the frame is never read, as coordinates are clamped.

    Args:
        pictures: of one height and width, each [H, W, C]; their channels are joined. Read as float32.
    """

    def __init__(self, *pictures: npt.NDArray[np.generic]) -> None:
        self._height, self._width = pictures[0].shape[:2]
        channels = sum(picture.shape[2] for picture in pictures)
        self._exponents = [max(1, (side - 1).bit_length()) for side in (self._width, self._height)]
        columns, rows = (2**exponent + 1 for exponent in self._exponents)
        pixels = self._height * self._width
        plane = rows * self._width + columns
        memory = torch.empty((channels, plane))
        memory[:, pixels : pixels + self._width + 1] = 0  # read with the weight 0 at the lower and the right border
        begin = 0
        for picture in pictures:
            values = picture.reshape(pixels, -1).T
            memory.numpy()[begin : begin + len(values), :pixels] = values
            begin += len(values)
        self._planes = memory.as_strided((1, channels, rows, columns), (plane * channels, plane, self._width, 1))
        self._across = torch.arange(self._width, dtype=torch.float32)

    def __call__(self, flow: FloatArray, rows: slice) -> Tensor:
        """Return the pictures, float32 [C, h, W], for some rows of the flow, which is [H, W, 2] in pixels."""
        moved = torch.from_numpy(np.array(flow[rows], np.float32))
        down = torch.arange(rows.start, rows.stop, dtype=torch.float32)[:, None]
        grid = torch.empty((1, *moved.shape))
        for axis, (start, side) in enumerate(((self._across, self._width), (down, self._height))):
            place = (moved[..., axis] + start).clamp_(0, side - 1)
            torch.mul(place, 2.0 ** (1 - self._exponents[axis]), out=place)
            grid[0, ..., axis] = place.sub_(1)
        found = F.grid_sample(self._planes, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return found[0]
