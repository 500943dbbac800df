"""STAR on CogVideoX as a model folder: each part as diffusers and transformers lay it out, LoRA merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.models.cogvideox.config import CLASS_NAME
from starvsr.models.cogvideox.folder import encoder_tensors, network_of, read_vae
from starvsr.models.cogvideox.sat import states_file
from starvsr.models.cogvideox.transformer import build_transformer
from starvsr.models.weights.assign import check_fit
from starvsr.models.weights.locate import ModelFiles
from starvsr.models.weights.model_folder import FolderPart
from starvsr.version import __version__


def folder_parts(spec: StarCogVideoXSpec, files: ModelFiles) -> list[FolderPart]:
    """Return the parts of a model folder; only the transformer is needed.

    Raises:
        OptionError: diffusers is not installed.
        WeightsError: A part is damaged, or is not the model's.
    """
    return [_transformer(spec, files), *fixed_parts(files)]


def fixed_parts(files: ModelFiles) -> list[FolderPart]:
    """Return the parts beside the transformer, as far as they are there.

    Raises:
        OptionError: diffusers is not installed.
        WeightsError: A part is damaged.
    """
    parts = []
    if "vae" in files:
        parts.append(_vae(files))
    if "text" in files:
        parts.append(
            FolderPart(
                role="text",
                folder="text_encoder",
                made_by=("transformers", "T5EncoderModel"),
                summary="encoder of T5",
                source=files["text"],
                tensors=lambda: encoder_tensors(files["text"]),
                stem="model",
                config=files.get("text/config.json"),
                config_summary="architecture of the text encoder",
            )
        )
    tokenizer = {key: path for key, path in files.items() if key.startswith("tokenizer/")}
    if tokenizer:
        parts.append(
            FolderPart(
                role="tokenizer",
                folder="tokenizer",
                made_by=("transformers", "T5Tokenizer"),
                copies={path.name: (path, "vocabulary and settings of the tokenizer") for path in tokenizer.values()},
            )
        )
    return parts


def _transformer(spec: StarCogVideoXSpec, files: ModelFiles) -> FolderPart:
    path = files.get("lora", files["transformer"])
    network = network_of(files, config=spec.network)
    check_fit(build_transformer(network.config).state_dict(), network.tensors, path)
    return FolderPart(
        role="transformer",
        folder="transformer",
        made_by=("diffusers", CLASS_NAME),
        summary="transformer of STAR on CogVideoX, with LIEM",
        source=states_file(path) or path,
        tensors=lambda: network.tensors,
        config=_with_version(network.config.to_json()),
        config_summary="architecture of the transformer",
    )


def _vae(files: ModelFiles) -> FolderPart:
    config, tensors = read_vae(files)

    def as_read() -> Mapping[str, Tensor]:
        return tensors

    return FolderPart(
        role="vae",
        folder="vae",
        made_by=("diffusers", "AutoencoderKLCogVideoX"),
        summary="causal 3D VAE",
        source=files["vae"],
        tensors=as_read,
        config=files.get("vae/config.json") or _with_version(config),
        config_summary="architecture of the VAE",
    )


def _with_version(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "_starvsr_version": __version__}
