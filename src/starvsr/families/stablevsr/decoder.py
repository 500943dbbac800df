"""The decoder half of StableVSR's autoencoder, whose attention holds no table of every pixel against every other."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from starvsr.families.stablevsr.strips import decode_in_strips
from starvsr.models.chunking import cuts

MAX_SCORES = 1 << 26
"""Scores that one slice of queries has at most: 256 MB in float32. 1280x720 pixels have 3.3e9."""


class FrameDecoder(nn.Module):
    """Decodes clean latents to pictures of four times the size.

    Args:
        vae: ``AutoencoderKL`` of diffusers; its encoder is not used.
        dtype: Number type to compute in; weights of another one are copied.
    """

    def __init__(self, vae: Any, dtype: torch.dtype) -> None:
        super().__init__()
        own = next(vae.parameters()).dtype
        self.scaling_factor = float(vae.config.scaling_factor)
        self.first = _in_type(vae.post_quant_conv, own, dtype) if vae.post_quant_conv is not None else nn.Identity()
        self.decoder = _in_type(vae.decoder, own, dtype)
        self.dtype = dtype
        middle: Any = self.decoder.mid_block
        for attention in middle.attentions:
            if attention is not None:
                attention.set_processor(SlicedAttention())

    def forward(self, latent: Tensor, *, strips: bool = False) -> Tensor:
        """Return the picture float32 [1, 3, 4h, 4w] of a clean latent [1, 4, h, w], about [-1, 1], not clamped.

        Args:
            latent: The latent.
            strips: Compute it by `starvsr.families.stablevsr.strips`.
        """
        given = self.first((latent.float() / self.scaling_factor).to(self.dtype))
        picture: Tensor = decode_in_strips(self.decoder, given) if strips else self.decoder(given)
        return picture.float()


def _in_type(module: nn.Module, own: torch.dtype, dtype: torch.dtype) -> nn.Module:
    return module if own == dtype else copy.deepcopy(module).to(dtype)


class SlicedAttention:
    """Attention processor of diffusers for self-attention over the pixels of a map, in slices of queries.

    Each query's result depends on no other query, so slices give the same numbers. CUDA's fused kernel needs no slices
    where it is available.

    Args:
        max_scores: Scores of a slice at most.
    """

    def __init__(self, max_scores: int = MAX_SCORES) -> None:
        self.max_scores = max_scores

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the map [B, C, h, w] plus what attention adds to it; the other arguments are not used."""
        batch, channels, height, width = hidden_states.shape
        tokens = hidden_states.flatten(2)
        normed = (tokens if attn.group_norm is None else attn.group_norm(tokens)).transpose(1, 2)
        query, key, value = (
            layer(normed).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        del normed
        mixed = torch.cat([F.scaled_dot_product_attention(part, key, value) for part in self._slices(query, key)], 2)
        added = attn.to_out[0](mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(batch, channels, height, width)
        result: Tensor = (added + hidden_states if attn.residual_connection else added) / attn.rescale_output_factor
        return result

    def _slices(self, query: Tensor, key: Tensor) -> list[Tensor]:
        if _is_fused(query):
            return [query]
        scores_each = query.shape[0] * query.shape[1] * key.shape[2]
        return [query[:, :, part] for part in cuts(query.shape[2], scores_each, self.max_scores)]


def _is_fused(query: Tensor) -> bool:
    """Whether CUDA's memory-efficient kernel takes this attention, whatever other kernels do."""
    if query.device.type != "cuda":
        return False
    try:
        asked = torch.backends.cuda.SDPAParams(query, query, query, None, 0.0, False, False)
        return bool(torch.backends.cuda.can_use_efficient_attention(asked))
    except (TypeError, AttributeError):  # an older torch
        return False
