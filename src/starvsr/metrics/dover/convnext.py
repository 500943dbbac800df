"""The network of DOVER's aesthetic view: ConvNeXt-T inflated to video.

Modules are named as the published weights name them.

Sources: Liu et al. 2022 (arXiv 2201.03545), Wu et al. 2023 (arXiv 2211.04894).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6
_TAPS_IN_TIME = (1, 3, 1)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, T, H, W]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape given."""
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, _EPS).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm and an MLP over channels, scaled and added to the input.

    Args:
        dim: channels.
        taps: taps of the convolution along time; 7x7 in space.
    """

    def __init__(self, dim: int, taps: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv3d(dim, dim, (taps, 7, 7), padding=(taps // 2, 3, 3), groups=dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, T, H, W] as given."""
        change = self.norm(self.dwconv(x).movedim(1, -1))
        change = self.gamma * self.pwconv2(F.gelu(self.pwconv1(change)))
        return x + change.movedim(-1, 1)


class ConvNeXt3D(nn.Module):
    """ConvNeXt-T over space and time.

    Args:
        depths: blocks of each stage; the second of every three convolves along time, too.
        dims: channels of each stage.
    """

    def __init__(self, depths: Sequence[int] = (3, 3, 9, 3), dims: Sequence[int] = (96, 192, 384, 768)) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv3d(3, dims[0], (2, 4, 4), stride=(2, 4, 4)), ChannelNorm(dims[0]))
        between = [
            nn.Sequential(ChannelNorm(before), nn.Conv3d(before, after, (1, 2, 2), stride=(1, 2, 2)))
            for before, after in pairwise(dims)
        ]
        self.downsample_layers = nn.ModuleList([stem, *between])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(dim, _TAPS_IN_TIME[index % 3]) for index in range(depth)))
            for depth, dim in zip(depths, dims, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return features [B, C, T / 2, H / 32, W / 32] of [B, 3, T, H, W]."""
        for smaller, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(smaller(x))
        return torch.as_tensor(self.norm(x.movedim(1, -1)).movedim(-1, 1))
