"""Weights of linear and convolution layers in 8 bits: a quarter of float32, half of float16.

Each output channel has one scale, and its weights are whole numbers from -127 to 127 times it; they are multiplied out
to the layer's number type when it runs, so activations lose nothing. Packages for this (torchao) leave convolutions
alone, which hold more than half of STAR's weights. The mechanism is torch's own, `torch.nn.utils.parametrize`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
KEPT_VALUES = 4096
"""Smaller weights stay as they are: they are many, save nothing, and the gates among them are delicate."""


class Int8Weight(nn.Module):
    """Parametrization of a layer's weight: from 8-bit codes and one scale for each output channel, and back."""

    def __init__(self, dtype: torch.dtype) -> None:
        """Build for weights of a number type."""
        super().__init__()
        self.dtype = dtype

    def forward(self, codes: Tensor, scales: Tensor) -> Tensor:
        """Return the weight multiplied out, laid out in memory as the codes are."""
        shape = (-1, *([1] * (codes.ndim - 1)))
        out = torch.empty_like(codes, dtype=self.dtype)  # scales are too small for float16, products are not
        return torch.mul(codes, scales.view(shape), out=out)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes and scales of a weight [out, ...]."""
        return quantize(weight)


def quantize(weight: Tensor, *, round_up: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return int8 codes of a weight [out, ...] and float32 scales [out]; the largest error is half a scale.

    Args:
        weight: Of a floating type.
        round_up: A number type that holds the scales exactly: they are the next larger ones that it has.
    """
    values = weight.detach().float()
    largest = values.flatten(1).abs().amax(1)
    wanted = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    rounded = wanted.to(round_up)
    above = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    scales = torch.where(rounded.float() < wanted, above, rounded).float()
    codes = (values / scales.view(-1, *([1] * (weight.ndim - 1)))).round_().to(torch.int8)
    if weight.ndim == 4:
        codes = codes.contiguous(memory_format=torch.channels_last) if _is_channels_last(weight) else codes
    return codes, scales


def _is_channels_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def to_int8(network: nn.Module) -> int:
    """Turn the large weights of a network into 8 bits, in place, one after the other.

    Code that reads ``layer.weight`` gets the weight multiplied out. The network can be run, not trained or saved.

    Returns:
        Bytes that all its weights take now.
    """
    for layer in [module for module in network.modules() if isinstance(module, Layer)]:
        if layer.weight.numel() < KEPT_VALUES:
            continue
        layer.weight.requires_grad_(False)
        weight = Int8Weight(layer.weight.dtype)
        parametrize.register_parametrization(layer, "weight", weight, unsafe=True)  # unsafe: the codes are integers
    return weight_bytes(network)


def weight_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])


def computing_dtype(network: nn.Module) -> torch.dtype:
    """Return the number type that a network computes in, which its 8-bit weights are multiplied out to."""
    for module in network.modules():
        if isinstance(module, Int8Weight):
            return module.dtype
    return next(network.parameters()).dtype


def largest_unpacked(network: nn.Module) -> int:
    """Return the bytes of the largest weight once it is multiplied out; 0 for a network without any in 8 bits."""
    return max((codes.numel() * dtype.itemsize for codes, dtype in packed_weights(network)), default=0)


def packed_weights(network: nn.Module) -> Iterator[tuple[Tensor, torch.dtype]]:
    """Yield the codes of each weight in 8 bits, and the number type that it is multiplied out to."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], Int8Weight):
            codes = module.original0
            assert isinstance(codes, Tensor)
            yield codes, module[0].dtype
