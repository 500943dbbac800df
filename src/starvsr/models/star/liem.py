"""Local Information Enhancement Module (LIEM): two gates in front of the attentions.

Source: STAR (arXiv 2501.02976), section on the local information enhancement module. Each gate is one factor
in (0, 1) per token. As published a gate stands directly before a LayerNorm, which cancels a positive factor
unless gate * std(token) comes near sqrt(eps); docs/training.md tells what follows from that. Other places for the
gates, for ablations and for a gate that acts, are in :data:`Position`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from starvsr.models.inference import add
from starvsr.models.star.config import Position


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


class NoGate(nn.Module):
    """Stands where a gate is left out."""

    def forward(self, features: Tensor) -> Tensor:
        """Return what is given."""
        return features


def gated_residual(
    tokens: Tensor, gate: nn.Module, norm: nn.Module, mix: Callable[[Tensor], Tensor], position: Position
) -> Tensor:
    """Add attention ``mix`` to tokens [..., D] (a grid [N, h, w, D] for a space gate), the gate at its position.

    Nobody else may read the tokens: without gradients they are overwritten.
    """

    def gated(features: Tensor) -> Tensor:
        out: Tensor = gate(features.movedim(-1, 1)).movedim(1, -1) if isinstance(gate, SpaceGate) else gate(features)
        return out

    if position == "before":
        return add(tokens, mix(norm(gated(tokens))))
    if position == "after":
        return add(tokens, gated(mix(norm(tokens))))
    if position == "stream":
        tokens = gated(tokens)
        return add(tokens, mix(norm(tokens)))
    factor = 1 if isinstance(gate, NoGate) else 2
    return add(tokens, mix(factor * gated(norm(tokens))))


def place_gates(module: nn.Module, position: Position, *, space: bool = True, time: bool = True) -> None:
    """Set the position of all gates in a network, and leave those of space or of time out."""
    for block in module.modules():
        if not hasattr(block, "gate_position"):
            continue
        block.gate_position = position  # type: ignore[assignment]
        for name, gate in list(block.named_children()):
            if (isinstance(gate, SpaceGate) and not space) or (isinstance(gate, TimeGate) and not time):
                setattr(block, name, NoGate())
