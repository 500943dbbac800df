"""Weights on disk: save, load strictly, digest. Safetensors only; nothing here can run code from a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from starvsr.errors import WeightsError

_SHOWN = 5


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into ``module``; every key must be there and none may be left over.

    Raises:
        WeightsError: the file is missing, damaged, or of another model (the keys are named).
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give the path of a .safetensors file, or reinstall starvsr")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read the weights {path}: {error}; get the file again") from error
    _check_keys(module.state_dict(), tensors, path)
    module.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})


def _check_keys(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    problems = []
    for word, keys in (
        ("missing", [key for key in wanted if key not in given]),
        ("unexpected", [key for key in given if key not in wanted]),
        ("of another shape", [key for key in wanted if key in given and wanted[key].shape != given[key].shape]),
    ):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            problems.append(f"{len(keys)} {word} ({', '.join(keys[:_SHOWN])}{more})")
    if problems:
        raise WeightsError(f"{path} does not fit this model: tensors {'; '.join(problems)}; choose the right model")


def save_weights(tensors: Mapping[str, Tensor], path: Path, *, dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write tensors to a safetensors file, which appears under its name only when whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file(
        {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()},
        partial,
        metadata=dict(metadata),
    )
    os.replace(partial, path)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()
