"""Warping of frames by optical flow, as it should be and as the published weights have learned it.

Source: StableVSR (arXiv 2311.15908) and its released code; the deviation of the latter is told at
:func:`published_warp`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Sample frames where a flow points to: a zero flow gives the frames themselves.

    Args:
        frames: [B, C, H, W], the source.
        flow: [B, 2, H, W], horizontal and vertical displacement in pixels: at each target pixel, where it lies in the
            source, seen from there.

    Returns:
        [B, C, H, W]; bilinear, 0 outside.
    """
    return _sampled(frames, flow, centres=False)


def published_warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Sample as the released StableVSR does in training and inference, which its weights therefore expect.

    Positions are normalised for a grid whose corners are pixel centres and then read as if the corners were pixel
    edges, so position x of W pixels is sampled at x * W / (W - 1) - 0.5: half a pixel too far to the left at the left
    edge, to the right at the right edge, and pixels at the edges are mixed with 0. Arguments and result are those of
    :func:`warp`.
    """
    return _sampled(frames, flow, centres=True)


def _sampled(frames: Tensor, flow: Tensor, *, centres: bool) -> Tensor:
    height, width = frames.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    x, y = columns + flow[:, 0], rows[:, None] + flow[:, 1]
    if centres:
        grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return F.grid_sample(frames, grid.to(frames.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
