"""Warping of frames by optical flow, as the published weights have learned it.

Source: StableVSR (arXiv 2311.15908) and its released code; how it deviates from a textbook warp is told below.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def published_warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Sample frames where a flow points to, as the released StableVSR does in training and inference.

    Positions are normalised for a grid whose corners are pixel centres and then read as if the corners were pixel
    edges, so position x of W pixels is sampled at x * W / (W - 1) - 0.5: half a pixel too far to the left at the left
    edge, to the right at the right edge, and pixels at the edges are mixed with 0. The weights expect it.

    Args:
        frames: [B, C, H, W], the source.
        flow: [B, 2, H, W], horizontal and vertical displacement in pixels: at each target pixel, where it lies in the
            source, seen from there.

    Returns:
        [B, C, H, W]; bilinear, 0 outside.
    """
    height, width = frames.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    x, y = columns + flow[:, 0], rows[:, None] + flow[:, 1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    return F.grid_sample(frames, grid.to(frames.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
