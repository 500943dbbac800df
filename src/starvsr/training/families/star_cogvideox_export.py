"""Exports of STAR on CogVideoX: a model folder with LoRA merged, or a file of what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from starvsr.errors import OutputNotWritableError
from starvsr.families.star_cogvideox.model_folder import fixed_parts
from starvsr.families.star_cogvideox.spec import StarCogVideoXSpec
from starvsr.models.cogvideox.adapter import ALPHA_KEY, BASE_KEY, BASE_NAME_KEY
from starvsr.models.cogvideox.config import CLASS_NAME
from starvsr.models.cogvideox.files import LAYOUT
from starvsr.models.cogvideox.lora import merge_lora
from starvsr.models.weights import save_weights
from starvsr.models.weights.locate import TENSORS
from starvsr.models.weights.model_folder import FolderPart, write_folder
from starvsr.training.diffusers_folder import link_or_copy
from starvsr.training.families.star_cogvideox_parts import FoundParts
from starvsr.training.model import Start
from starvsr.training.star_cogvideox import TrainedSizes
from starvsr.version import __version__

_TYPE_OF = "patch_embed.text_proj.weight"
"""A tensor that the published training leaves as it is."""


def write_merged(
    path: Path, spec: StarCogVideoXSpec, sizes: TrainedSizes, tensors: Mapping[str, Tensor], parts: FoundParts
) -> Path:
    """Write a model folder that `starvsr upscale --weights` opens; one that is there is replaced.

    The transformer has the number type of what did not train; float32 where everything did. The text encoder, which is
    large, is a link to the files that are there, where the file system allows it.

    Args:
        path: The folder.
        spec: The model.
        sizes: Of network and LoRA.
        tensors: By the names of the transformer, LoRA apart.
        parts: Where the frozen parts lie.

    Returns:
        The folder of the transformer.

    Raises:
        WeightsError: A frozen part is damaged.
        OutputExistsError: Something else is there.
        OutputNotWritableError: The disk is full or closed to us.
    """
    dtype = tensors[_TYPE_OF].dtype
    merged = {name: tensor.to(dtype) for name, tensor in merge_lora(tensors, sizes.lora_alpha, path).items()}
    transformer = FolderPart(
        role="transformer",
        folder="transformer",
        made_by=("diffusers", CLASS_NAME),
        summary="transformer of STAR on CogVideoX, with LIEM",
        source=path,
        tensors=lambda: merged,
        config={**sizes.transformer.to_json(), "_starvsr_version": __version__},
        config_summary="architecture of the transformer",
        is_own=True,
    )
    fixed = [replace(part, source=None) if part.role == "text" else part for part in fixed_parts(parts.files)]
    write_folder([transformer, *fixed], path, pipeline=spec.folder_class, name=spec.name, overwrite=True)
    try:
        _link_text(parts.files["text"], path / LAYOUT["text"])
    except OSError as error:
        raise OutputNotWritableError(f"cannot write {path}: {error}; free some space") from error
    return path / "transformer"


def _link_text(source: Path, folder: Path) -> None:
    if source.is_file():
        link_or_copy(source, folder / source.name)
        return
    for file in source.iterdir():
        if file.suffix in TENSORS or file.name.endswith(".index.json"):
            link_or_copy(file, folder / file.name)


def write_lora(
    path: Path, own: Mapping[str, Tensor], sizes: TrainedSizes, start: Start, metadata: Mapping[str, str]
) -> Path:
    """Write what was trained, in float32; `starvsr upscale --weights` puts it on top of the CogVideoX it is for.

    Args:
        path: The file.
        own: What was trained, by the names of the transformer.
        sizes: Of network and LoRA.
        start: What the run began with.
        metadata: Of the file; the digest of the start is added, and the strength of LoRA.
    """
    assert start.path is not None
    base = {BASE_KEY: start.digest or "", BASE_NAME_KEY: Path(start.word).name, ALPHA_KEY: repr(sizes.lora_alpha)}
    save_weights(own, path, dtype=torch.float32, metadata={**metadata, **base})
    return path
