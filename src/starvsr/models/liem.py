"""Local Information Enhancement Module (LIEM): two gates in front of the attentions.

Source: STAR (arXiv 2501.02976), section on the local information enhancement module. Each gate is one factor
in (0, 1) per token. As published a gate stands directly before a LayerNorm, which cancels a positive factor
unless gate * std(token) comes near sqrt(eps); docs/models.md tells what follows from that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _extremes(features: Tensor, dim: int) -> Tensor:
    """Stack maximum and mean over the channels, in this order, in the channels' place."""
    return torch.cat([features.amax(dim, keepdim=True), features.mean(dim, keepdim=True)], dim)


class SpaceGate(nn.Module):
    """Scale each pixel by a factor seen from its 7x7 neighbourhood."""

    def __init__(self) -> None:
        """Build the 2 -> 1 channel 7x7 convolution."""
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return gated features, shape [N, C, h, w] as given."""
        return features * torch.sigmoid(self.conv1(_extremes(features, 1)))


class TimeGate(nn.Module):
    """Scale each token by a factor of its own maximum and mean."""

    def __init__(self) -> None:
        """Build the 2 -> 1 linear layer."""
        super().__init__()
        self.conv1 = nn.Linear(2, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return gated tokens, shape [N, L, D] as given."""
        return tokens * torch.sigmoid(self.conv1(_extremes(tokens, -1)))
