"""UNet, TCM and autoencoder as classes of diffusers: the one loader, for inference and training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.errors import OptionError, WeightsError
from starvsr.families.stablevsr.configuration import check_inputs, read_json
from starvsr.models.flow.raft import first_line
from starvsr.models.weights import ModelFiles, build_empty, fit, read_tensors

CLASSES = {"unet": "UNet2DConditionModel", "tcm": "ControlNetModel", "vae": "AutoencoderKL"}
"""The class of each part, by its role."""
UNUSED = ("class_embedding.weight", "text_model.embeddings.position_ids", "embeddings.position_ids")
"""Tensors of published files that no network of StableVSR reads."""
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_network(files: ModelFiles, role: str, dtype: torch.dtype = torch.float32) -> Any:
    """Load a part in evaluation mode, frozen, on the CPU; unchanged tensors stay mapped from their file.

    Args:
        files: Where the model's files lie.
        role: "unet", "tcm" or "vae".
        dtype: Number type of the weights.

    Raises:
        OptionError: diffusers is not installed.
        WeightsError: Configuration or tensors are missing, damaged, or of another network.
    """
    class_name, name = CLASSES[role], f"{role}/config.json"
    make = getattr(library("diffusers"), class_name).from_config
    config = read_json(files, name)
    if role != "vae":
        check_inputs(config, str(files[name]))
    try:
        network: nn.Module = build_empty(lambda: make(config))
    except Exception as error:  # whatever a wrong value leads to inside the library
        raise WeightsError(f"{files[name]} describes no {class_name}: {first_line(error)}; fetch it again") from error
    wanted = network.state_dict()
    tensors = {_today(name, wanted): tensor for name, tensor in read_tensors(files[role]).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name in wanted or name not in UNUSED}
    for name, tensor in tensors.items():
        if name in wanted and tensor.ndim == 4 and wanted[name].ndim == 2:  # attention as 1x1 convolutions
            tensors[name] = tensor[:, :, 0, 0]
    fit(network, tensors, files[role], dtype=dtype)
    return network.eval().requires_grad_(False)


def library(name: str) -> Any:
    """Import diffusers or transformers.

    Raises:
        OptionError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise OptionError(f"stablevsr needs {name}: pip install 'starvsr[stablevsr]'") from error


def _today(name: str, wanted: Mapping[str, Tensor]) -> str:
    """Return today's name of a tensor of an attention; old files of the autoencoder have others."""
    if name in wanted:
        return name
    return re.sub(r"\.(query|key|value|proj_attn)\.", lambda found: f".{_OLD_ATTENTION[found[1]]}.", name)
