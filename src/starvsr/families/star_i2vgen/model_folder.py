"""STAR on I2VGen-XL as a model folder: what it consists of, and how its network is opened again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTowerConfig, tower_weights
from starvsr.models.weights.assign import build_empty, check_fit
from starvsr.models.weights.locate import ModelFiles
from starvsr.models.weights.model_folder import FolderPart, architecture
from starvsr.models.weights.star import load_star_unet
from starvsr.models.weights.tensors import read_tensors

NETWORK_CLASS = "StarUNet"


def folder_parts(spec: StarI2VGenSpec, files: ModelFiles) -> list[FolderPart]:
    """Return the parts of a model folder; only the network is needed.

    Raises:
        WeightsError: A part is damaged, or the network is not the model's.
    """
    network = read_tensors(files["unet"])
    check_fit(build_empty(lambda: StarUNet(spec.unet)).state_dict(), network, files["unet"])
    parts = [
        FolderPart(
            role="unet",
            folder="unet",
            made_by=("starvsr", NETWORK_CLASS),
            summary="UNet and ControlNet of STAR",
            source=files["unet"],
            tensors=lambda: network,
            config=architecture(NETWORK_CLASS, spec.unet),
            config_summary="architecture of the network",
        )
    ]
    if "vae" in files and "vae/config.json" in files:
        parts.append(
            FolderPart(
                role="vae",
                folder="vae",
                made_by=("diffusers", "AutoencoderKLTemporalDecoder"),
                summary="temporal VAE",
                source=files["vae"],
                config=files["vae/config.json"],
                config_summary="architecture of the VAE",
            )
        )
    if "text" in files:
        parts.append(_text_part(files))
    if "text/merges.txt" in files:
        merges = {"merges.txt": (files["text/merges.txt"], "merges of the byte-pair encoding")}
        parts.append(FolderPart(role="text", folder="tokenizer", made_by=("starvsr", "Tokenizer"), copies=merges))
    return parts


def _text_part(files: ModelFiles) -> FolderPart:
    """Keep the layout of `transformers` where it comes with its configuration; OpenCLIP's becomes our own."""
    path, config = files["text"], files.get("text/config.json")
    theirs = config is not None and "TextTower" not in config.read_text()

    def tensors() -> Mapping[str, Tensor]:
        return read_tensors(path) if theirs else tower_weights(read_tensors(path))

    return FolderPart(
        role="text",
        folder="text_encoder",
        made_by=("transformers", "CLIPTextModel") if theirs else ("starvsr", "TextTower"),
        summary="text tower",
        source=path,
        tensors=tensors,
        stem="model",
        config=config if theirs else architecture("TextTower", TextTowerConfig()),
        config_summary="architecture of the text tower",
    )


def load_network(path: Path, config: StarUNetConfig, dtype: torch.dtype | None = None) -> StarUNet:
    """Load the network of a model; its parameters are mapped from the files.

    Args:
        path: A file, or the ``unet`` folder of a model folder, which states its own architecture.
        config: Architecture where the path does not state it.
        dtype: Number type of the parameters; None keeps the files'.

    Raises:
        WeightsError: It is missing, damaged, or not of this architecture.
    """
    if path.is_dir() and (path / "config.json").is_file():
        config = read_config(path)
    return load_star_unet(path, config, dtype=dtype)


def read_config(folder: Path) -> StarUNetConfig:
    """Read the architecture of a ``unet`` folder.

    Raises:
        WeightsError: There is none, or it is of another class.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text())
        if values.get("_class_name") != NETWORK_CLASS:
            raise WeightsError(
                f"{path} describes a {values.get('_class_name')}, not a {NETWORK_CLASS}: give a folder of STAR"
            )
        known = {field.name for field in dataclasses.fields(StarUNetConfig)}
        given = {key: value for key, value in values.items() if not key.startswith("_")}
        if unknown := sorted(given.keys() - known):
            raise WeightsError(f"{path} has settings unknown here ({', '.join(unknown)}): use a newer starvsr")
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        return StarUNetConfig(**settings)
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"cannot read {path}: {error}; give a folder written by `starvsr models convert`") from error
