"""Low-rank adaptation (LoRA) of the attention projections: added for training, merged for everything else.

A layer computes ``W x + alpha / r * B A x``; A is [r, in] and drawn, B is [out, r] and begins as zeros, so that a fresh
adaptation changes nothing.

Source: LoRA (arXiv 2106.09685); rank 512 and alpha 1 are those of STAR's release for CogVideoX-5B.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.errors import WeightsError

RANK, ALPHA = 512, 1.0
"""Of the released checkpoint, which is scaled by 1 / 512."""
DOWN, UP = "lora_A.weight", "lora_B.weight"
"""Names of A and B beside a layer's ``weight``, as PEFT and diffusers have them."""
PROJECTIONS = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
"""The layers of a block that are adapted."""


class LoraLinear(nn.Module):
    """A linear layer with its low-rank adaptation; the layer's own tensors keep their names.

    Args:
        layer: The layer; its parameters are taken over.
        rank: r, at least 1.
        alpha: Strength of the adaptation; the product is scaled by ``alpha / rank``.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.scale = alpha / rank
        device = layer.weight.device
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False, device=device)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False, device=device)
        self.reset()

    def reset(self) -> None:
        """Draw A from torch's generator, and make B zero."""
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return [..., out] of features [..., in]."""
        change: Tensor = self.lora_B(self.lora_A(features))
        return F.linear(features, self.weight, self.bias) + self.scale * change


def add_lora(transformer: nn.Module, rank: int, alpha: float) -> None:
    """Put adaptations on all attention projections of a transformer, in place.

    Args:
        transformer: `StarCogVideoX`; may lie on the meta device, and so do the adaptations then.
        rank: r of each; 0 adds none.
        alpha: See `LoraLinear`.
    """
    if not rank:
        return
    for block in cast(Iterable[nn.Module], transformer.get_submodule("transformer_blocks").children()):
        for name in PROJECTIONS:
            parent, _, last = name.rpartition(".")
            layer = cast(nn.Linear, block.get_submodule(name))
            block.get_submodule(parent).add_module(last, LoraLinear(layer, rank, alpha))


def fresh_lora(transformer: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of fresh adaptations of a transformer on the meta device, drawn from torch's generator."""
    drawn: dict[str, Tensor] = {}
    for name, module in transformer.named_modules():
        if isinstance(module, LoraLinear):
            down = torch.empty(module.lora_A.weight.shape)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            drawn[f"{name}.{DOWN}"], drawn[f"{name}.{UP}"] = down, torch.zeros(module.lora_B.weight.shape)
    return drawn


def has_lora(names: Iterable[str]) -> bool:
    """Whether there are adaptations among tensors of these names."""
    return any(name.endswith((DOWN, UP)) for name in names)


def merge_lora(tensors: Mapping[str, Tensor], alpha: float, where: Path | str) -> dict[str, Tensor]:
    """Return tensors with the adaptations added to their layers, in float32, and rounded to the layer's type once.

    Args:
        tensors: By the names of the transformer; those of the adaptations beside the layers'.
        alpha: See `LoraLinear`; r is read from the shapes.
        where: Their file, for messages.

    Raises:
        WeightsError: An adaptation lacks its other half or its layer, or does not fit it.
    """
    merged = {name: tensor for name, tensor in tensors.items() if not name.endswith((DOWN, UP))}
    layers = dict.fromkeys(name.removesuffix(DOWN).removesuffix(UP) for name in tensors if name.endswith((DOWN, UP)))
    for layer in layers:
        for name in (f"{layer}{DOWN}", f"{layer}{UP}", f"{layer}weight"):
            if name not in tensors:
                raise WeightsError(f"{where} lacks {name} of LoRA: export the run again, or get the file again")
        weight, down, up = tensors[f"{layer}weight"], tensors[f"{layer}{DOWN}"], tensors[f"{layer}{UP}"]
        rank = down.shape[0]
        if down.shape != (rank, weight.shape[1]) or up.shape != (weight.shape[0], rank):
            raise WeightsError(
                f"{where}: {layer}{DOWN} {list(down.shape)} and {layer}{UP} {list(up.shape)} do not fit "
                f"{layer}weight {list(weight.shape)}: they were trained on another network"
            )
        change = up.float() @ down.float() * (alpha / rank)
        merged[f"{layer}weight"] = (weight.float() + change).to(weight.dtype)
    return merged
