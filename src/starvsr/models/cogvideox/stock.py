"""The transformer of a plain CogVideoX, from which STAR on CogVideoX is trained, in STAR's form.

The low-quality latents are further input channels of the patch embedding, whose weights begin as zeros; LIEM is new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.config import TransformerConfig

PATCH = "patch_embed.proj.weight"
_GATES = (".spa_local.", ".temp_local.")
_NO_EFFECT = ("spatial_interpolation_scale", "temporal_interpolation_scale")
"""Settings that only sin-cos positions depend on."""


def is_stock(names: Mapping[str, Any]) -> bool:
    """Whether these are the tensors of a plain CogVideoX: there are no gates of LIEM."""
    return not any(gate in name for name in names for gate in _GATES)


def gate_names(names: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the gates of LIEM."""
    return frozenset(name for name in names if any(gate in name for gate in _GATES))


def stock_config(values: Mapping[str, Any], where: Path | str) -> TransformerConfig:
    """Read the ``config.json`` of a plain CogVideoX as the sizes of the STAR that is trained from it.

    Raises:
        WeightsError: It is that of another network, such as one that makes videos from images.
    """
    wide, channels = values.get("in_channels"), values.get("out_channels", 16)
    if wide != channels:
        raise WeightsError(
            f"{where}: {wide} channels go in and {channels} come out: training begins with a CogVideoX that makes "
            "videos from text alone, such as CogVideoX-5b or CogVideoX-2b, or with a STAR on CogVideoX"
        )
    return TransformerConfig.from_json({**values, "in_channels": 2 * channels}, where)


def widened(tensors: Mapping[str, Tensor], config: TransformerConfig, where: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a plain CogVideoX with zeros for the channels of the low-quality latents.

    Args:
        tensors: By the names of the transformer.
        config: Sizes of the STAR that is trained.
        where: Their file, for messages.

    Raises:
        WeightsError: The patch embedding is missing or of another shape.
    """
    wanted = (config.width, config.out_channels, config.patch_size, config.patch_size)
    weight = tensors.get(PATCH)
    if weight is None or tuple(weight.shape) != wanted:
        state = "missing" if weight is None else f"of shape {list(weight.shape)}"
        raise WeightsError(f"{where}: {PATCH} is {state}, and a CogVideoX of this size has {list(wanted)}")
    zeros = torch.zeros(wanted[0], config.in_channels - wanted[1], *wanted[2:], dtype=weight.dtype)
    return {**tensors, PATCH: torch.cat([weight, zeros], 1)}


def check_same_sizes(found: TransformerConfig, wanted: TransformerConfig, where: Path | str, model: str) -> None:
    """Refuse a start of other sizes than the recipe's.

    Args:
        found: Sizes of the file.
        wanted: Sizes of the recipe.
        where: The file.
        model: The recipe's model.

    Raises:
        WeightsError: They differ; all differences are told.
    """
    own, others = dataclasses.asdict(found), dataclasses.asdict(wanted)
    names = [name for name in own if not (found.use_rotary_positional_embeddings and name in _NO_EFFECT)]
    different = [name for name in names if own[name] != others[name]]
    if different:
        told = ", ".join(f"{name} {own[name]}, not {others[name]}" for name in different)
        raise WeightsError(
            f"{where} is of another size than this recipe's {model}: {told}. Begin with the CogVideoX that {model} is "
            "made of, or write the sizes of this one into the recipe's network section"
        )
