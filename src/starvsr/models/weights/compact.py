"""Weights in files in 8 bits: half of float16.

Large tensors become whole numbers from -127 to 127 times a scale of each output channel; ``int8_scales`` holds these
scales one after the other, in the order of the tensors' names. Small tensors stay in float16. Whoever reads such a file
gets all of them multiplied out, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import WeightsError

SCALES = "int8_scales"
_KEPT_VALUES = 512
"""Smaller tensors stay as they are: the gates among them are delicate."""


def compact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as they are stored in 8 bits; an error is half a scale at most.

    Args:
        tensors: Of a floating type, by name.
    """
    stored: dict[str, Tensor] = {}
    scales = []
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        if tensor.ndim < 2 or tensor.numel() < _KEPT_VALUES:
            stored[name] = tensor.half()
            continue
        values = tensor.float()
        scale = _rounded_up(values.flatten(1).abs().amax(1) / 127)
        stored[name] = (values / _beside(scale.float(), values)).round_().to(torch.int8)
        scales.append(scale)
    return stored | ({SCALES: torch.cat(scales)} if scales else {})


def expand(tensors: dict[str, Tensor], where: Path | str) -> dict[str, Tensor]:
    """Return the tensors that `compact` stored; those of other files are returned as they are.

    Args:
        tensors: As a file holds them.
        where: The file, for the message.

    Raises:
        WeightsError: Codes and scales do not belong together.
    """
    if SCALES not in tensors:
        return tensors
    codes = [name for name in sorted(tensors) if tensors[name].dtype == torch.int8]
    scales = tensors[SCALES]
    sizes = [len(tensors[name]) for name in codes]
    if scales.ndim != 1 or sum(sizes) != len(scales):
        raise WeightsError(f"{where}: {sum(sizes)} channels in 8 bits, {scales.numel()} scales: get the file again")
    whole = {name: tensor for name, tensor in tensors.items() if name != SCALES}
    for name, scale in zip(codes, scales.float().split(sizes), strict=True):
        values = tensors[name].float()
        whole[name] = values * _beside(scale, values)
    return whole


def _rounded_up(scale: Tensor) -> Tensor:
    """Return scales in bfloat16, none below what was given and none 0: codes then stay within 127."""
    rounded = scale.bfloat16()
    up = torch.where(rounded.float() < scale, torch.nextafter(rounded, torch.full_like(rounded, torch.inf)), rounded)
    return torch.where(scale > 0, up, torch.ones_like(up))


def _beside(scale: Tensor, values: Tensor) -> Tensor:
    return scale.view(-1, *([1] * (values.ndim - 1)))
