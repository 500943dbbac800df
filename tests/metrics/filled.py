"""Networks filled by the formula that the golden values were computed with."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn


def filled(network: nn.Module) -> nn.Module:
    """Fill the convolutions, in the order of modules."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for k, conv in enumerate(convolutions):
        count, fan_in = conv.weight.numel(), conv.weight[0].numel()
        weight = np.sin(0.7 * np.arange(count) + 1.3 * k + 0.1) * math.sqrt(2 / fan_in)
        bias = 0.01 * np.cos(np.arange(conv.out_channels) + k)
        conv.weight.data = torch.from_numpy(weight.astype(np.float32)).view_as(conv.weight)
        conv.bias.data = torch.from_numpy(bias.astype(np.float32))
    return network.eval().requires_grad_(False)
