"""Tensors of a file or a folder, mapped from the disk: what is not touched takes no memory, nothing is copied.

Reads safetensors, `.pt` files (tensors only, see pickles.py), and folders of safetensors with an index. Knows nothing
of networks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.weights.compact import expand
from starvsr.models.weights.pickles import unneeded_names

_SHOWN = 5
_LONGEST_HEADER = 100_000_000  # of safetensors, in bytes
_ZIP, _PICKLE, _POINTER = b"PK\x03\x04", b"\x80", b"version https://git-lfs"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, or of a folder with one safetensors file or an index of several.

    They lie in memory mapped from the file: keep the file as it is while they are in use. An entry ``state_dict``
    around them is taken off; those stored in 8 bits are multiplied out (:mod:`starvsr.models.weights.compact`).

    Raises:
        WeightsError: missing, damaged, refused because it could run code, or without tensors.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give the path of a .safetensors or .pt file or of a model folder")
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error}") from error
    if head.startswith(_POINTER):
        raise WeightsError(f"{path} is only Git LFS's note of where the weights are: get the file itself")
    may_be_safetensors = head[8:9] == b"{"
    if may_be_safetensors and int.from_bytes(head[:8], "little") < _LONGEST_HEADER:
        return _read_safetensors(path)  # before the rest: the length it begins with may have a pickle's first byte
    if head.startswith(_ZIP) or head.startswith(_PICKLE):
        return _read_pickle(path)
    if may_be_safetensors:
        return _read_safetensors(path)
    raise WeightsError(f"{path} is neither safetensors nor a .pt file: give a file of weights")


def read_metadata(path: Path) -> dict[str, str]:
    """Return the words that a safetensors file carries beside its tensors; none for other files."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read the weights {path}: {error}; get the file again") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dictionary
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read the weights {path}: {error}; get the file again") from error
    return expand(tensors, path)


def _read_folder(folder: Path) -> dict[str, Tensor]:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    single = sorted(folder.glob("*.safetensors"))
    if not indices and len(single) == 1:
        return _read_safetensors(single[0])
    if len(indices) != 1:
        found = f"{len(indices)} indices and {len(single)} files" if indices or single else "none"
        raise WeightsError(f"{folder} must hold one .safetensors file, or several with one index: there are {found}")
    try:
        places = json.loads(indices[0].read_text())["weight_map"]
        files = sorted({str(name) for name in places.values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"cannot read {indices[0]}: {error!r}; get the file again") from error
    tensors: dict[str, Tensor] = {}
    for name in files:
        if Path(name).name != name or not (folder / name).is_file():
            raise WeightsError(f"{folder} lacks {name}, which {indices[0].name} names: get the folder again")
        tensors |= _read_safetensors(folder / name)
    lost = [key for key in places if key not in tensors]
    if lost:
        raise WeightsError(f"{folder}: {indices[0].name} names {len(lost)} tensors that are not there ({lost[0]}, ...)")
    return tensors


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        unneeded = unneeded_names(path)
    except (ValueError, OSError, EOFError, IndexError, UnicodeDecodeError, KeyError) as error:
        _damaged(path, error)
    except Exception as error:  # zipfile and zlib have errors of their own
        _damaged(path, error)
    if unneeded:
        _refuse(path, unneeded)
    try:
        content = _load(path)
    except Exception as error:
        _damaged(path, error)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not tensors by name: give a file of weights")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        shown = ", ".join(others[:_SHOWN])
        what = f"entries that are no tensors ({shown})" if others else "no tensors"
        raise WeightsError(f"{path} holds {what}: give a file with the weights alone or under `state_dict`")
    return {str(key): value.detach() for key, value in content.items()}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=True)  # from before torch 1.6: cannot be mapped


def _refuse(path: Path, names: list[str]) -> NoReturn:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise WeightsError(
        f"{path} is refused: besides tensors it wants to call {', '.join(names[:_SHOWN])}{more}, and such a file can "
        "run any program on this machine; ask its author for a .safetensors file, or for a .pt file with tensors only"
    )


def _damaged(path: Path, error: Exception) -> NoReturn:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    raise WeightsError(f"cannot read the weights {path} ({reason}): damaged or cut off; get the file again") from error
