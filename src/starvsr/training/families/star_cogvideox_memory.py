"""What the VAE of CogVideoX takes in training: its weights, and a piece of a clip on its way through the decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import WeightsError
from starvsr.families.registry import get_spec
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.models.cogvideox.libraries import library
from starvsr.models.weights import build_empty
from starvsr.training.config import TrainConfig
from starvsr.training.families.star_cogvideox_parts import find_parts
from starvsr.training.sketch import Checkpoint, kept_bytes
from starvsr.training.star_cogvideox import TrainedSizes

_FIRST_PIECE, _PIECE = 3, 2
"""Latent frames that are decoded at once."""


def vae_sizes(config: TrainConfig, sizes: TrainedSizes) -> Mapping[str, Any]:
    """Return the VAE's configuration: of the parts that a recipe names, or else the published one.

    Raises:
        WeightsError: The folder that the recipe names lacks a part.
    """
    published = {"latent_channels": sizes.out_channels}
    try:
        files = find_parts(get_spec(config.model, StarCogVideoXSpec), config, config.init).files
    except WeightsError:
        if config.models:
            raise
        return published
    path = files.get("vae/config.json")
    return published if path is None else json.loads(path.read_text(encoding="utf-8"))


def vae_bytes(vae: Mapping[str, Any], in_bfloat16: bool) -> int:
    """Return the bytes of the VAE's weights: float32, the decoder perhaps in bfloat16."""
    network = _empty(vae)
    total, decoder = (sum(p.numel() for p in each.parameters()) for each in (network, network.decoder))
    return 4 * (total - decoder) + (2 if in_bfloat16 else 4) * decoder


def decoding_bytes(
    vae: Mapping[str, Any],
    latents: int,
    cells: int,
    *,
    recompute_pieces: bool,
    recompute_blocks: bool,
    in_bfloat16: bool,
) -> int:
    """Count the bytes that autograd keeps of the decoder.

    Args:
        vae: Its configuration.
        latents: Latent frames of a clip.
        cells: Latent cells along each side.
        recompute_pieces: Only one piece of the clip is kept at a time.
        recompute_blocks: Only one resnet block of a piece is.
        in_bfloat16: Number type of the decoder.
    """
    decoder: Any = _Decoder(_empty(vae).decoder)
    first = min(_FIRST_PIECE, latents)
    counted = kept_bytes(decoder, (_latents(vae, first, cells),), decoder.recompute if recompute_blocks else None)
    if not recompute_pieces and latents > first:
        counted = counted * latents // first
    carried = decoder.carried if recompute_pieces and latents > first else 0
    return (counted + carried * (-(-(latents - first) // _PIECE))) // (2 if in_bfloat16 else 1)


class _Decoder(nn.Module):
    """The decoder's first piece."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder
        self.carried = 0
        """Bytes of the ends that the next piece takes over, which are kept for its backward pass."""

    def forward(self, latents: Tensor) -> Tensor:
        frames: Tensor
        frames, ends = self.decoder(latents)
        self.carried = sum(end.nbytes for end in _tensors(ends))
        return frames

    def recompute(self, checkpoint: Checkpoint) -> None:
        """Run blocks by a checkpoint function, see :class:`StageSketch`."""

        def run(block: nn.Module, features: Tensor, *others: Any) -> Any:
            return checkpoint(_call, block, features, *others, use_reentrant=False)

        for module in self.decoder.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing, module._gradient_checkpointing_func = True, run


def _call(block: nn.Module, features: Tensor, *others: Any) -> Any:
    return block(features, *others)


def _tensors(ends: Any) -> list[Tensor]:
    if isinstance(ends, dict):
        return [tensor for value in ends.values() for tensor in _tensors(value)]
    return [ends] if isinstance(ends, Tensor) else []


def _latents(vae: Mapping[str, Any], count: int, cells: int) -> Tensor:
    return torch.empty(1, int(vae["latent_channels"]), count, cells, cells, device="meta", requires_grad=True)


def _empty(vae: Mapping[str, Any]) -> Any:
    make = library("diffusers").AutoencoderKLCogVideoX.from_config
    return build_empty(lambda: make(dict(vae))).requires_grad_(False)
