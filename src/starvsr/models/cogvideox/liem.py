"""Local Information Enhancement Module of the CogVideoX variant: two gates on the image tokens before the attention.

Source: STAR (arXiv 2501.02976). Both gates multiply; there is no residual around them, and the second one looks at one
token alone. The text tokens pass by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _extremes(features: Tensor, dim: int) -> Tensor:
    """Stack maximum and mean over the channels, in this order, in place of the channels."""
    return torch.cat([features.amax(dim, keepdim=True), features.mean(dim, keepdim=True)], dim)


class SpatialGate(nn.Module):
    """One factor in (0, 1) for each token, from the tokens in its 7x7 neighbourhood of the same frame."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Return the gated tokens.

        Args:
            tokens: [B, T * h * w, C].
            grid: Frames T, rows h and columns w of the tokens.
        """
        frames, rows, columns = grid
        maps = _extremes(tokens, -1).view(-1, rows, columns, 2).permute(0, 3, 1, 2)  # [B * T, 2, h, w]
        gate = torch.sigmoid(self.conv1(maps)).reshape(-1, frames * rows * columns, 1)
        return tokens * gate


class TokenGate(nn.Module):
    """One factor in (0, 1) for each token, from its own maximum and mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Linear(2, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the gated tokens, [B, N, C] as given."""
        return tokens * torch.sigmoid(self.conv1(_extremes(tokens, -1)))
