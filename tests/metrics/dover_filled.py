"""The inputs that DOVER's golden values were computed with: weights by a formula, clips of integer arithmetic."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn


def filled(network: nn.Module) -> nn.Module:
    """Fill all floating tensors of a network, in the order of their names."""
    state = {name: one for name, one in sorted(network.state_dict().items()) if one.is_floating_point()}
    for k, (name, tensor) in enumerate(state.items()):
        wave = np.sin(0.7 * np.arange(tensor.numel()) + 1.3 * k + 0.1)
        if name.endswith("table"):
            values = 0.8 * wave
        elif name.endswith("gamma"):
            values = 0.5 + 0.3 * wave
        elif tensor.ndim == 1:
            values = 0.1 * wave + (1.0 if name.endswith("weight") else 0.0)
        else:
            values = wave * math.sqrt(2 / tensor[0].numel())
        tensor.copy_(torch.from_numpy(values).view_as(tensor))
    network.eval()
    return network.requires_grad_(False)


def clip(frames: int, height: int, width: int) -> np.ndarray:
    """Make a clip, uint8 [T, H, W, 3]."""
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    return ((9 * t + 3 * y + 5 * x + 40 * c + y * x // 16 + (x * x + t * y) // 31) % 256).astype(np.uint8)


def normalized(frames: np.ndarray) -> torch.Tensor:
    """Return what networks get, [1, 3, T, H, W]."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    return torch.from_numpy((frames - mean) / std).float().permute(3, 0, 1, 2)[None]
