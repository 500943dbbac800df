"""A network as a folder of configuration and weights; for one of diffusers as its ``from_pretrained`` opens it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from starvsr.errors import OutputNotWritableError
from starvsr.models.weights.save import save_tensors

TENSORS = "diffusion_pytorch_model.safetensors"


def write_network(folder: Path, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write a folder that is whole or absent; one that is there is replaced.

    Args:
        folder: gets `config.json` and the weights, in float32.
        network: of diffusers; its configuration is written.
        tensors: weights in place of its own.

    Raises:
        OutputNotWritableError: the disk is full or closed to us.
    """
    configured: Any = network
    write_tensors(folder, configured.save_config, tensors)


def write_tensors(folder: Path, save_config: Callable[[Path], object], tensors: Mapping[str, Tensor]) -> None:
    """Write a folder of configuration and weights that is whole or absent; one that is there is replaced.

    Args:
        folder: see :func:`write_network`.
        save_config: writes the configuration into a folder.
        tensors: the weights, written in float32.

    Raises:
        OutputNotWritableError: the disk is full or closed to us.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        save_config(partial)
        save_tensors(
            {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()},
            partial / TENSORS,
            {"format": "pt"},
        )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise OutputNotWritableError(f"cannot write {folder}: {error}; free some space and --resume") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a configuration file."""
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file appear at another place too, without taking its space twice where the file system allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
