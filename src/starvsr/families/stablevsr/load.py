"""Load StableVSR from the published folder layout, by today's diffusers and transformers (extra "stablevsr")."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.errors import OptionError, WeightsError
from starvsr.families.precision import choose_dtype
from starvsr.families.stablevsr.networks import DiffusersNetworks
from starvsr.families.stablevsr.spec import StableVSRSpec
from starvsr.families.stablevsr.upscaler import StableVSRUpscaler
from starvsr.models.flow.dis import DisFlow
from starvsr.models.flow.estimator import FlowEstimator
from starvsr.models.flow.raft import load_raft
from starvsr.models.weights import digest, fit, known_digest, read_tensors
from starvsr.models.weights.locate import ModelFiles, find_model

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_UNUSED = ("class_embedding.weight", "text_model.embeddings.position_ids", "embeddings.position_ids")
_INPUT_CHANNELS = 7
_TEXT_LENGTH = 77


def load(
    spec: StableVSRSpec,
    *,
    weights: Path | str | None = None,
    device: str = "cpu",
    precision: str | None = None,
    flow: str | None = None,
    **defaults: Any,
) -> StableVSRUpscaler:
    """Load the model for the registry.

    Args:
        spec: The entry.
        weights: A folder of the published layout in place of what `starvsr models fetch` got.
        device: Where everything computes.
        precision: "fp32", "fp16", "bf16", or "auto" (None) for fp16 on CUDA, else fp32.
        flow: "raft" (None) or "dis".
        defaults: Options of the model's jobs, for jobs that do not name them.

    Raises:
        OptionError: diffusers, transformers or torchvision are missing, or the precision is not for this device.
        WeightsError: a part is missing, damaged, or of another model.
    """
    if weights is not None and not Path(weights).is_dir():
        raise WeightsError(f"{weights} is no folder: give the one that holds model_index.json, unet, controlnet, ...")
    precision = precision or "auto"
    auto = "fp16" if device.startswith("cuda") else "fp32"
    dtype = choose_dtype(auto if precision == "auto" else precision, device)
    files = find_model(spec, None if weights is None else Path(weights))
    for library in ("diffusers", "transformers"):
        _library(library)
    estimator: FlowEstimator = DisFlow() if flow == "dis" else load_raft(device)
    scheduler = DDPM(_scheduler_config(files))
    text = encode_text(files, "")
    networks = DiffusersNetworks(
        unet=_network(files, "unet", "UNet2DConditionModel", dtype).to(device),
        tcm=_network(files, "tcm", "ControlNetModel", dtype).to(device),
        vae=_network(files, "vae", "AutoencoderKL", dtype).to(device),
        text=text.to(device, dtype),
    )
    given = {"weights": weights, "precision": None if precision == "auto" else precision, "flow": flow, **defaults}
    return StableVSRUpscaler(
        spec.name,
        networks,
        scheduler,
        estimator,
        device=device,
        dtype=dtype,
        digest=known_digest(files["unet"]) or digest(files["unet"]),
        loaded_with={name: value for name, value in given.items() if value is not None},
    )


def encode_text(files: ModelFiles, prompt: str) -> Tensor:
    """Return the embedding of a prompt, float32 [1, 77, C], on the CPU; the text tower is freed again.

    Raises:
        OptionError: transformers is not installed.
        WeightsError: text tower or tokenizer are missing or damaged.
    """
    transformers = _library("transformers")
    config = transformers.CLIPTextConfig(**_json(files, "text/config.json"))
    tower = transformers.CLIPTextModel(config).eval()
    wanted = tower.state_dict()
    tensors = {
        name if name in wanted else name.removeprefix("text_model."): tensor
        for name, tensor in read_tensors(files["text"]).items()
        if name not in _UNUSED
    }
    fit(tower, tensors, files["text"], dtype=torch.float32)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(files["tokenizer/vocab.json"].parent))
    ids = tokenizer(
        prompt, padding="max_length", max_length=_TEXT_LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
    with torch.inference_mode():
        embedding: Tensor = tower(ids, return_dict=False)[0]
    return embedding.clone()


def _network(files: ModelFiles, role: str, class_name: str, dtype: torch.dtype) -> nn.Module:
    """Build a network of diffusers by its configuration and give it the tensors of its file."""
    config = _json(files, f"{role}/config.json")
    if role in ("unet", "tcm"):
        _check_config(config, files[f"{role}/config.json"])
    network: nn.Module = getattr(_library("diffusers"), class_name).from_config(config)
    wanted = network.state_dict()
    tensors = {_today(name, wanted): tensor for name, tensor in read_tensors(files[role]).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name in wanted or name not in _UNUSED}
    for name, tensor in tensors.items():
        if name in wanted and tensor.ndim == 4 and wanted[name].ndim == 2:  # attention as 1x1 convolutions
            tensors[name] = tensor[:, :, 0, 0]
    fit(network, tensors, files[role], dtype=dtype)
    return network.eval().requires_grad_(False)


def _today(name: str, wanted: Mapping[str, Tensor]) -> str:
    """Return today's name of a tensor of an attention; old files of the autoencoder have others."""
    if name in wanted:
        return name
    return re.sub(r"\.(query|key|value|proj_attn)\.", lambda found: f".{_OLD_ATTENTION[found[1]]}.", name)


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") is not None:
        raise WeightsError(
            f"{path} describes a network with noise-level embedding, as the original x4 upscaler has it: "
            "StableVSR's has none; give the folder of StableVSR"
        )
    if config.get("in_channels") != _INPUT_CHANNELS:
        raise WeightsError(f"{path} takes {config.get('in_channels')} channels in, and StableVSR's takes 7")


def _scheduler_config(files: ModelFiles) -> DDPMConfig:
    entries = _json(files, "scheduler/scheduler_config.json")
    try:
        return DDPMConfig.from_json(entries)
    except OptionError as error:
        raise WeightsError(f"{files['scheduler/scheduler_config.json']}: {error}") from error


def _json(files: ModelFiles, key: str) -> dict[str, Any]:
    if key not in files:
        raise WeightsError(f"the model has no {key}: fetch it again, or give a whole folder with --weights")
    try:
        entries = json.loads(files[key].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {files[key]}: {error}; fetch it again") from error
    if not isinstance(entries, dict):
        raise WeightsError(f"{files[key]} holds no settings: fetch it again")
    return entries


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise OptionError(f"stablevsr needs {name}: pip install 'starvsr[stablevsr]'") from error
