"""Weights of star-small with one end of a training, and with two that differ visibly."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from starvsr.families.registry import get_entry
from starvsr.models.weight_ends import join_ends, one_end
from starvsr.models.weights import read_metadata, read_tensors, save_weights

PACKAGED = get_entry("star-small").packaged_weights()


def end(name: str) -> dict[str, Tensor]:
    """Return the packaged weights ("vivid"), or such that see a third less of everything ("faithful")."""
    tensors = {key: value.float() for key, value in one_end(read_tensors(PACKAGED)).items()}
    if name == "faithful":
        tensors["unet.out.2.weight"] = tensors["unet.out.2.weight"] * 0.7
    return tensors


def write_end(path: Path, name: str) -> Path:
    """Write one end."""
    save_weights(end(name), path, dtype=torch.float32, metadata=read_metadata(PACKAGED))
    return path


def write_both_ends(path: Path) -> Path:
    """Write both into one file."""
    save_weights(join_ends(end("faithful"), end("vivid")), path, dtype=torch.float32, metadata=read_metadata(PACKAGED))
    return path
