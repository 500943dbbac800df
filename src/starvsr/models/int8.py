"""Weights of linear and convolution layers in 8 bits: a quarter of float32, half of float16.

Each output channel has one scale, and its weights are whole numbers from -127 to 127 times it; they are multiplied out
to the layer's number type when it runs, so activations lose nothing. Packages for this (torchao) leave convolutions
alone, which hold more than half of STAR's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
KEPT_VALUES = 4096
"""Smaller weights stay as they are: they are many, save nothing, and the gates among them are delicate."""


class Int8Weight(nn.Module):
    """Stands in for the weight of a layer: 8-bit numbers and one scale for each output channel."""

    codes: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor) -> None:
        """Round a weight [out, ...], scale by scale.

        Args:
            weight: Float weights; the number type is that of what is computed with them.
        """
        super().__init__()
        codes, scales = quantize(weight)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.dtype = weight.dtype

    def forward(self) -> Tensor:
        """Return the weight multiplied out, laid out in memory as the codes are."""
        shape = (-1, *([1] * (self.codes.ndim - 1)))
        out = torch.empty_like(self.codes, dtype=self.dtype)  # scales are too small for float16, products are not
        return torch.mul(self.codes, self.scales.view(shape), out=out)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 codes of a weight [out, ...] and float32 scales [out]; the largest error is half a scale."""
    values = weight.detach().float()
    largest = values.flatten(1).abs().amax(1)
    scales = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
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
        stored = Int8Weight(layer.weight)
        del layer.weight
        layer.add_module("int8_weight", stored)
        layer.__class__ = _int8_class(type(layer))  # type: ignore[assignment]
    return weight_bytes(network)


def weight_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])


def largest_unpacked(network: nn.Module) -> int:
    """Return the bytes of the largest weight once it is multiplied out; 0 for a network without any in 8 bits."""
    stored = [module for module in network.modules() if isinstance(module, Int8Weight)]
    return max((module.codes.numel() * module.dtype.itemsize for module in stored), default=0)


_classes: dict[type[nn.Module], type[nn.Module]] = {}


def _int8_class(plain: type[nn.Module]) -> type[nn.Module]:
    """Return a layer class whose ``weight`` is multiplied out each time it is read."""
    if plain not in _classes:
        weight = property(lambda self: self.int8_weight())
        _classes[plain] = type(f"Int8{plain.__name__}", (plain,), {"weight": weight})
    return _classes[plain]
