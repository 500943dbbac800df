"""The VAE file that CogVideo publishes beside SAT checkpoints (``3d-vae.pt``), under diffusers' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.weights.training_states import tensors_under

SCALING_5B = 0.7
SCALING_2B = 1.15258426
"""Factors that CogVideoX-5B and CogVideoX-2B multiply latents by; SAT's file does not state them."""

_LOSSES = "loss"
"""Prefix of the discriminator and the perceptual network of the VAE's training."""


def read_sat_vae(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a VAE file by diffusers' names; those of the training's losses are left out.

    Raises:
        WeightsError: The file is missing, damaged, refused, or has a tensor twice.
    """
    given = {name: tensor for name, tensor in tensors_under(path, "state_dict").items() if not _is_loss(name)}
    levels = 1 + max((int(found[1]) for name in given if (found := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)
    renamed: dict[str, Tensor] = {}
    for name, tensor in given.items():
        new = _renamed(name, levels)
        if new in renamed:
            raise WeightsError(f"{path} has {new} twice (once as {name}): get the file again")
        renamed[new] = tensor
    return renamed


def vae_config(tensors: Mapping[str, Tensor], where: Path | str, scaling_factor: float) -> dict[str, Any]:
    """Return the configuration of diffusers' class from the shapes of its tensors.

    Args:
        tensors: By diffusers' names.
        where: Their file, for messages.
        scaling_factor: What latents are multiplied by.

    Raises:
        WeightsError: A tensor that tells the sizes is missing.
    """
    try:
        levels = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"encoder\.down_blocks\.(\d+)", name)))
        widths = [tensors[f"encoder.down_blocks.{n}.resnets.0.conv1.conv.weight"].shape[0] for n in range(levels)]
        latent = tensors["decoder.conv_in.conv.weight"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"{where} is no VAE of CogVideoX: it lacks {error}; give 3d-vae.pt") from error
    layers = {found[1] for name in tensors if (found := re.match(r"encoder\.down_blocks\.0\.resnets\.(\d+)\.", name))}
    return {
        "_class_name": "AutoencoderKLCogVideoX",
        "block_out_channels": widths,
        "down_block_types": ["CogVideoXDownBlock3D"] * levels,
        "up_block_types": ["CogVideoXUpBlock3D"] * levels,
        "latent_channels": latent,
        "layers_per_block": len(layers),
        "scaling_factor": scaling_factor,
    }


def _is_loss(name: str) -> bool:
    return name.startswith(_LOSSES)


def _renamed(name: str, levels: int) -> str:
    """Return diffusers' name of a tensor; one that follows no rule keeps its own, for the loader to refuse."""
    new = re.sub(r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets.", name)
    new = re.sub(r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", new)
    new = re.sub(
        r"^decoder\.up\.(\d+)\.block\.", lambda at: f"decoder.up_blocks.{levels - 1 - int(at[1])}.resnets.", new
    )
    new = re.sub(
        r"^decoder\.up\.(\d+)\.upsample\.", lambda at: f"decoder.up_blocks.{levels - 1 - int(at[1])}.upsamplers.0.", new
    )
    new = re.sub(r"\.mid\.block_([12])\.", lambda at: f".mid_block.resnets.{int(at[1]) - 1}.", new)
    return new.replace(".nin_shortcut.", ".conv_shortcut.")
