"""Tensors to a safetensors file: the one place where the package writes them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors to a safetensors file that has the same bytes each time and the mode of any new file.

    Args:
        tensors: Contiguous, on the CPU.
        path: The file; its folder is there.
        metadata: Entries beside the tensors.

    Raises:
        OSError: The file cannot be written.
    """
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:  # no space, a folder closed to us
        raise OSError(f"cannot write {path}: {error}") from error
    _sort_metadata(path)
    set_default_mode(path)


def save_weights(
    tensors: Mapping[str, Tensor], path: Path, *, dtype: torch.dtype | None, metadata: Mapping[str, str]
) -> None:
    """Write tensors to a safetensors file, which appears under its name only when whole.

    Args:
        tensors: By name.
        path: The file; its folder is there.
        dtype: Number type of all of them in the file; None keeps that of each.
        metadata: Entries beside the tensors.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_tensors(
        {key: tensor.detach().to("cpu", dtype or tensor.dtype).contiguous() for key, tensor in tensors.items()},
        partial,
        metadata,
    )
    os.replace(partial, path)


def set_default_mode(path: Path) -> None:
    """Give a file the mode that the process gives to new files in its folder (the umask decides).

    Recent versions of safetensors write to a temporary file that only its owner may read, and rename it. The mode is
    taken from a new file: the umask cannot be asked for without changing it for all threads.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.mode")
    probe.touch()
    try:
        with suppress(PermissionError):  # file systems without modes
            path.chmod(stat.S_IMODE(probe.stat().st_mode))
    finally:
        probe.unlink()


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order, in place: the library writes them in another one each time."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(ordered) <= size:
            file.seek(8)
            file.write(ordered.ljust(size))
