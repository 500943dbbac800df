"""Weights in files in 8 bits: half of float16.

Large tensors become whole numbers from -127 to 127 times a scale of each output channel (:mod:`starvsr.models.int8`);
``int8_scales`` holds these scales in bfloat16, one after the other, in the order of the tensors' names. Small tensors
stay in float16. Whoever reads such a file gets all that was in 8 bits multiplied out, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.int8 import quantize

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
        stored[name], scale = quantize(tensor.contiguous(), round_up=torch.bfloat16)
        scales.append(scale.bfloat16())
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
        whole[name] = tensors[name].float() * scale.view(-1, *([1] * (tensors[name].ndim - 1)))
    return whole
