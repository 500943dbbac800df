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
from starvsr.offload.trace import saved_bytes
from starvsr.training.config import TrainConfig
from starvsr.training.families.star_cogvideox_parts import find_parts
from starvsr.training.sketch import BlockRecorder
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
    cells: tuple[int, int],
    *,
    recompute_pieces: bool,
    recompute_blocks: bool,
    in_bfloat16: bool,
) -> int:
    """Count the bytes that autograd keeps of the decoder.

    Args:
        vae: Its configuration.
        latents: Latent frames of a clip.
        cells: Rows and columns of latent cells.
        recompute_pieces: Only one piece of the clip is kept at a time.
        recompute_blocks: Only one resnet block of a piece is.
        in_bfloat16: Number type of the decoder.
    """
    decoder: Any = _Decoder(_empty(vae).decoder)
    latents += latents % _PIECE == 0  # of an even number the last one is repeated
    first = min(_FIRST_PIECE, latents)
    counted = int(decoder.kept(_latents(vae, first, cells), recompute_blocks))
    if not recompute_pieces and latents > first:
        counted = counted * latents // first
    carried = decoder.carried if recompute_pieces else 0
    return (counted + carried * (-(-(latents - first) // _PIECE))) // (2 if in_bfloat16 else 1)


class _Decoder:
    """The decoder's first piece on the meta device.

    Attributes:
        carried: Bytes of the ends that the next piece takes over, which are kept for its backward pass.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._inputs: dict[int, int] = {}
        self._inside: list[int] = []
        self.carried = 0

    def kept(self, latents: Tensor, recompute_blocks: bool) -> int:
        """Return the float32 bytes that autograd keeps.

        Recomputed are blocks and, inside of each, its resnets: kept are the inputs of all blocks, and of one block the
        inputs of its resnets with what is inside the largest one.
        """
        if recompute_blocks:
            for module in self._decoder.modules():
                if hasattr(module, "gradient_checkpointing"):
                    module.gradient_checkpointing = True
            self._decoder._gradient_checkpointing_func = self._run_block
        with saved_bytes(self._decoder) as outside:
            _, ends = self._decoder(latents)
        self.carried = sum(end.nbytes for end in _tensors(ends))
        return sum(outside.values()) + sum(self._inputs.values()) + max(self._inside, default=0)

    def _run_block(self, block: Any, features: Tensor, *others: Any) -> Any:
        storage, resnets = features.untyped_storage(), BlockRecorder()
        self._inputs[storage._cdata] = storage.nbytes()

        def run_resnet(resnet: nn.Module, inner: Tensor, *given: Any) -> Any:
            return resnets(_call, resnet, inner, *given, use_reentrant=False)

        block._gradient_checkpointing_func = run_resnet
        with saved_bytes(block) as kept:
            out = block(features, *others)
        self._inside.append(sum(kept.values()) + resnets.num_bytes)
        return out


def _call(block: nn.Module, features: Tensor, *others: Any) -> Any:
    return block(features, *others)


def _tensors(ends: Any) -> list[Tensor]:
    if isinstance(ends, dict):
        return [tensor for value in ends.values() for tensor in _tensors(value)]
    return [ends] if isinstance(ends, Tensor) else []


def _latents(vae: Mapping[str, Any], count: int, cells: tuple[int, int]) -> Tensor:
    return torch.empty(1, int(vae["latent_channels"]), count, *cells, device="meta", requires_grad=True)


def _empty(vae: Mapping[str, Any]) -> Any:
    make = library("diffusers").AutoencoderKLCogVideoX.from_config
    return build_empty(lambda: make(dict(vae))).requires_grad_(False)
