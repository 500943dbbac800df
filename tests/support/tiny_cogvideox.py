"""STAR on CogVideoX with tiny networks of random weights, and a stand-in for the text encoder."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from starvsr.families.star_cogvideox.upscaler import Parts, StarCogVideoXUpscaler
from tests.parity.cogvideox_method import made_vae
from tests.parity.cogvideox_networks import made_transformer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_layers": 2,
    "in_channels": 16,
    "out_channels": 16,
    "time_embed_dim": 12,
    "text_hidden_size": 24,
    "text_length": 226,
    "lora_r": 0,
}
VAE: dict[str, Any] = {
    "ch": 32,
    "ch_mult": (1, 1, 1, 1),
    "z_channels": 16,
    "num_res_blocks": 1,
    "scaling_factor": 0.7,
}


def tiny_cogvideox(**loaded_with: Any) -> StarCogVideoXUpscaler:
    """A loaded model."""
    return StarCogVideoXUpscaler("star-cogvideox-5b", Parts(*_networks(), encoded), loaded_with=loaded_with)


@cache
def _networks() -> tuple[Any, Any]:
    """Transformer and VAE, the same for all models: nothing changes them."""
    return made_transformer(SIZES), made_vae(VAE)


def encoded(text: str) -> Tensor:
    """Other numbers for texts of other lengths."""
    return torch.randn(1, 226, 24, generator=torch.Generator().manual_seed(len(text)))
