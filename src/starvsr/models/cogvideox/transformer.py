"""The transformer of STAR on CogVideoX: layers of diffusers' CogVideoXTransformer3DModel, and LIEM in each block.

Source: STAR (arXiv 2501.02976) on CogVideoX (arXiv 2408.06072). It differs from CogVideoX by 32 input channels (noisy
latents, then low-quality latents), by the two gates before each attention, and by the epsilon of the last LayerNorm.
The names of its tensors are diffusers', and those of the gates are the published ones, as in `TransformerConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.libraries import library
from starvsr.models.cogvideox.liem import SpatialGate, TokenGate
from starvsr.models.cogvideox.positions import Grid, rotary_table, sincos_table

__all__ = ["Block", "StarCogVideoX", "TransformerConfig", "build_transformer"]

_LAST_EPS = 1e-6
"""Epsilon of the LayerNorm in front of the output layer; diffusers has 1e-5 there."""


def build_transformer(config: TransformerConfig, device: torch.device | str = "meta") -> StarCogVideoX:
    """Build the network with untrained weights, in evaluation mode.

    Args:
        config: Its sizes.
        device: Where its parameters lie; on "meta" they have shapes but no memory.

    Raises:
        OptionError: diffusers is not installed.
    """
    with torch.device(device):
        return StarCogVideoX(config).eval()


class Block(nn.Module):
    """One block: attention over text and image tokens behind LIEM, then one MLP over both.

    Args:
        block: diffusers' CogVideoXBlock, which gives its layers.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.attn1, self.norm2, self.ff = block.norm1, block.attn1, block.norm2, block.ff
        self.spa_local = SpatialGate()
        self.temp_local = TokenGate()

    def forward(
        self, image: Tensor, text: Tensor, time: Tensor, grid: Grid, rotary: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Return image and text tokens after the block.

        Args:
            image: [B, T * h * w, C].
            text: [B, L, C].
            time: Embedding of the timestep, [B, time_embed_dim].
            grid: Frames T, rows h and columns w of the image tokens.
            rotary: See `rotary_table`; None without.
        """
        seen, seen_text, gate, text_gate = self.norm1(image, text, time)
        seen = self.temp_local(self.spa_local(seen, grid))
        change, text_change = self.attn1(hidden_states=seen, encoder_hidden_states=seen_text, image_rotary_emb=rotary)
        del seen, seen_text
        image = image + gate * change
        text = text + text_gate * text_change
        seen, seen_text, gate, text_gate = self.norm2(image, text, time)
        change = self.ff(torch.cat([seen_text, seen], 1))
        del seen, seen_text
        length = text.shape[1]
        return image + gate * change[:, length:], text + text_gate * change[:, :length]


class StarCogVideoX(nn.Module):
    """Predicts the velocity of noisy latents beside low-quality latents, for any number of frames and any size.

    Args:
        config: Its sizes.

    Attributes:
        gradient_checkpointing: Compute each block again for its gradient instead of keeping what is in it.
        checkpoint: What does that, `torch.utils.checkpoint.checkpoint` or what counts its memory.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.checkpoint: Callable[..., Any] = checkpoint
        stock = library("diffusers").CogVideoXTransformer3DModel(**_without_positions(config))
        self.patch_embed = stock.patch_embed
        self.time_proj, self.time_embedding = stock.time_proj, stock.time_embedding
        self.transformer_blocks = nn.ModuleList(Block(block) for block in stock.transformer_blocks)
        self.norm_final, self.norm_out, self.proj_out = stock.norm_final, stock.norm_out, stock.proj_out
        self.norm_out.norm.eps = _LAST_EPS
        self._positions: tuple[Any, Any] = (None, None)

    def forward(self, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """Return the predicted velocity, [B, T, out_channels, h, w] of the number type of the latents.

        Args:
            latents: Noisy and low-quality latents, [B, T, in_channels, h, w]; h and w are even.
            timestep: Place on the schedule of 0 ... 999, float [B].
            text: Encoded prompts, or zeros, [B, L, text_embed_dim].

        Raises:
            ValueError: The latents are not of this form.
        """
        grid = self._grid(latents)
        dtype = latents.dtype
        time = self.time_embedding(self.time_proj(timestep).to(dtype))
        tokens = self.patch_embed(text.to(dtype), latents)
        image, words = tokens[:, text.shape[1] :], tokens[:, : text.shape[1]]
        rotary = None
        if self.config.use_rotary_positional_embeddings:
            rotary = self._table(grid, latents.device)
        else:
            image = image + self._table(grid, latents.device).to(dtype)
        for block in self.transformer_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                given = (block, image, words, time, grid, rotary)
                image, words = self.checkpoint(_run, *given, use_reentrant=False)
            else:
                image, words = block(image, words, time, grid, rotary)
        # one token at a time: the text tokens, which the published network normalizes beside these, are not needed
        image = self.proj_out(self.norm_out(self.norm_final(image), temb=time))
        return self._latents_of(image, grid)

    def _grid(self, latents: Tensor) -> Grid:
        patch, channels = self.config.patch_size, self.config.in_channels
        if latents.ndim != 5 or latents.shape[2] != channels:
            raise ValueError(f"latents must be [B, T, {channels}, h, w], not {list(latents.shape)}")
        _, frames, _, height, width = latents.shape
        if height % patch or width % patch:
            raise ValueError(f"latents of {width}x{height} cells: both must be multiples of {patch}")
        return frames, height // patch, width // patch

    def _table(self, grid: Grid, device: torch.device) -> Any:
        """Return the positions of a grid; the last ones are kept."""
        if self._positions[0] != (grid, device):
            make = rotary_table if self.config.use_rotary_positional_embeddings else sincos_table
            self._positions = (grid, device), make(self.config, grid, device)
        return self._positions[1]

    def _latents_of(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Lay tokens [B, T * h * w, C * p * p] out as latents [B, T, C, h * p, w * p]."""
        frames, rows, columns = grid
        patch = self.config.patch_size
        cells = tokens.view(-1, frames, rows, columns, self.config.out_channels, patch, patch)
        return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, frames, cells.shape[4], rows * patch, columns * patch)


def _run(block: nn.Module, image: Tensor, *others: Any) -> Any:
    return block(image, *others)


def _without_positions(config: TransformerConfig) -> dict[str, Any]:
    """Return the arguments of diffusers' class; positions are made here, for each grid."""
    return {
        "num_attention_heads": config.num_attention_heads,
        "attention_head_dim": config.attention_head_dim,
        "num_layers": config.num_layers,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "time_embed_dim": config.time_embed_dim,
        "text_embed_dim": config.text_embed_dim,
        "patch_size": config.patch_size,
        "max_text_seq_length": config.max_text_seq_length,
        "norm_eps": config.norm_eps,
        "use_rotary_positional_embeddings": True,
    }
