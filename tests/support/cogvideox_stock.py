"""A plain CogVideoX with tiny random weights, written by diffusers and transformers as they publish models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.models.cogvideox.release import write_text_encoder

SIZES: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "time_embed_dim": 12,
    "text_embed_dim": 24,
}
"""What the transformer has in place of the published sizes; also the recipes' `network` section."""
VAE: dict[str, Any] = {
    "block_out_channels": (8, 8, 8, 8),
    "latent_channels": 16,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "scaling_factor": 0.7,
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
}


def write_stock(folder: Path, *, rotary: bool = True, **changes: Any) -> Path:
    """Write a model folder in diffusers' layout; returns it."""
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

    torch.manual_seed(1)
    transformer = CogVideoXTransformer3DModel(
        **{**SIZES, "in_channels": 16, "use_rotary_positional_embeddings": rotary, **changes}
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    transformer.save_pretrained(folder / "transformer")
    AutoencoderKLCogVideoX(**VAE).save_pretrained(folder / "vae")
    (folder / "text_encoder").mkdir()
    write_text_encoder(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    for name in ("spiece.model", "tokenizer_config.json"):
        (folder / "text_encoder" / name).rename(folder / "tokenizer" / name)
    index = {
        "_class_name": "CogVideoXPipeline",
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
