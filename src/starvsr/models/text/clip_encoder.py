"""The text tower of OpenCLIP ViT-H-14: token ids to the features that the cross attentions read.

All blocks but the last run, then the final norm: no pooling, no projection, every position used, also the padding.

Source: STAR on I2VGen-XL (arXiv 2501.02976, 2311.04145); weights laion2b_s32b_b79k. The 23-layer text encoder
published with Stable Diffusion 2.x in the layout of `transformers` is the same function. Attribute names are those of
OpenCLIP; :func:`tower_weights` maps both layouts to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.errors import WeightsError
from starvsr.models.text.clip_tokenizer import CONTEXT_LENGTH


@dataclass(frozen=True)
class TextTowerConfig:
    """Every number of a text tower; the defaults are ViT-H-14's."""

    width: int = 1024
    heads: int = 16
    blocks: int = 23
    """Blocks that run: one less than OpenCLIP's tower has."""
    context_length: int = CONTEXT_LENGTH
    vocabulary: int = 49_408


class TextTower(nn.Module):
    """A causal transformer over token ids."""

    def __init__(self, config: TextTowerConfig | None = None) -> None:
        """Build with fresh weights; the default is ViT-H-14's size."""
        super().__init__()
        self.config = config = config or TextTowerConfig()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        nn.init.normal_(self.positional_embedding, std=0.01)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.ModuleList(TextBlock(config.width, config.heads) for _ in range(config.blocks))}
        )
        self.ln_final = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the context [B, L, width] of token ids [B, L], L at most the context length."""
        tokens = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        for block in self.transformer["resblocks"].children():
            tokens = block(tokens)
        out: Tensor = self.ln_final(tokens)
        return out


class TextBlock(nn.Module):
    """Attend to the tokens before, then transform each token on its own."""

    def __init__(self, width: int, heads: int) -> None:
        """Build for tokens of ``width`` features."""
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = CausalAttention(width, heads)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [B, L, width]."""
        tokens = tokens + self.attn(self.ln_1(tokens))
        out: Tensor = tokens + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(tokens))))
        return out


class CausalAttention(nn.Module):
    """Multi-head attention in which a token sees itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        """Build for tokens of ``width`` features, a multiple of ``heads``."""
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return mixed tokens [B, L, width]."""
        joined = F.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = joined.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, d]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


def tower_weights(tensors: Mapping[str, Tensor], config: TextTowerConfig | None = None) -> dict[str, Tensor]:
    """Bring a published text encoder to the names of :class:`TextTower`.

    Reads the layout of OpenCLIP (a whole CLIP or its text half) and that of `transformers`. Left out, by name: the
    image half, the projection to the joint space and its scale, constant buffers, and the blocks that do not run.
    Nothing else may be left over and nothing may be missing: ``load_state_dict`` with the result is strict.

    Args:
        tensors: The file's tensors by name.
        config: The tower's sizes; the default is ViT-H-14's.

    Raises:
        WeightsError: the tensors are in neither layout.
    """
    config = config or TextTowerConfig()
    names = {name.removeprefix("text.").removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    if "embeddings.token_embedding.weight" in names:
        return _from_transformers(names, config)
    if "token_embedding.weight" in names:
        unused = re.compile(r"visual\.|text_projection|logit_(scale|bias)$|attn_mask$")
        return {
            name: tensor for name, tensor in names.items() if not unused.match(name) and _block_of(name) < config.blocks
        }
    raise WeightsError(
        f"no text encoder of CLIP in these {len(tensors)} tensors ({', '.join(list(tensors)[:3])}, ...): "
        "give the text encoder of Stable Diffusion 2.x or OpenCLIP's ViT-H-14"
    )


_RENAMED = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_RENAMED_IN_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_THIRDS = ("q", "k", "v")


def _from_transformers(names: Mapping[str, Tensor], config: TextTowerConfig) -> dict[str, Tensor]:
    unused = {"embeddings.position_ids", "text_projection.weight"}
    found: dict[str, Tensor] = {}
    for name, tensor in names.items():
        block = re.match(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$", name)
        if block is None:
            if name not in unused:
                found[_RENAMED.get(name, name)] = tensor
            continue
        number, part, kind = int(block.group(1)), block.group(2), block.group(3)
        if number >= config.blocks:
            continue
        prefix = f"transformer.resblocks.{number}."
        if part in ("self_attn.k_proj", "self_attn.v_proj"):
            first = f"encoder.layers.{number}.self_attn.q_proj.{kind}"
            if first not in names:
                found[name] = tensor  # stays unknown, so that the strict loading names it
        elif part == "self_attn.q_proj":
            thirds = [names.get(name.replace(".q_proj.", f".{letter}_proj.")) for letter in _THIRDS]
            if all(third is not None for third in thirds):
                found[f"{prefix}attn.in_proj_{kind}"] = torch.cat([third for third in thirds if third is not None])
        else:
            found[f"{prefix}{_RENAMED_IN_BLOCK.get(part, part)}.{kind}"] = tensor
    return found


def _block_of(name: str) -> int:
    """Return the number of the block that a tensor belongs to, -1 for none."""
    block = re.match(r"transformer\.resblocks\.(\d+)\.", name)
    return int(block.group(1)) if block else -1
