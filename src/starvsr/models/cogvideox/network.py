"""The transformer of STAR on CogVideoX as its files hold it: sizes and tensors, in any of the forms there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.sat import config_of, read_sat, states_file, to_diffusers
from starvsr.models.weights import read_tensors


@dataclass(frozen=True, eq=False)
class Network:
    """The transformer of a file, before it is built.

    Attributes:
        config: Its sizes.
        tensors: Its tensors by the names of `StarCogVideoX`, mapped from the file where they are as it has them.
    """

    config: TransformerConfig
    tensors: dict[str, Tensor]


def read_network(path: Path, *, dtype: torch.dtype | None = None, config: TransformerConfig | None = None) -> Network:
    """Read the transformer in any of its forms.

    Args:
        path: A folder with ``config.json`` and safetensors, a SAT checkpoint (`starvsr.models.cogvideox.sat`), or a
            bare file with the tensors of `StarCogVideoX`.
        dtype: Number type to give layers whose LoRA is merged; None keeps the file's.
        config: The sizes of the model that is asked for. They are the sizes of a bare file; what states its own must
            have as many blocks and the same positions if it is as wide.

    Raises:
        WeightsError: It is missing, damaged, refused, or of other sizes.
    """
    if path.is_dir() and (path / "config.json").is_file():
        found = Network(
            TransformerConfig.from_json(read_json(path / "config.json"), path / "config.json"), read_tensors(path)
        )
    elif states_file(path) is not None:
        named = read_sat(path)
        sizes = config_of(named, path)
        found = Network(sizes, to_diffusers(named, path, dtype=dtype))
    else:
        found = Network(config or TransformerConfig.published_5b(), read_tensors(path))
    if config is not None:
        check_sizes(found.config, config, path)
    return found


def check_sizes(found: TransformerConfig, wanted: TransformerConfig, path: Path) -> None:
    """Refuse a network that is another one than was asked for, or of which blocks are missing.

    Raises:
        WeightsError: So it is.
    """
    if found.use_rotary_positional_embeddings != wanted.use_rotary_positional_embeddings:
        kinds = {True: "rotary positions, as the 5B has", False: "sin-cos positions, as the 2B has"}
        raise WeightsError(
            f"{path} has {kinds[found.use_rotary_positional_embeddings]}: choose the model that it belongs to"
        )
    if found.width == wanted.width and found.num_layers != wanted.num_layers:
        raise WeightsError(
            f"{path} has {found.num_layers} blocks, and this model has {wanted.num_layers}: get the weights again"
        )


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a configuration file.

    Raises:
        WeightsError: It is missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}; get it again") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} must hold an object of JSON: get it again")
    return values
