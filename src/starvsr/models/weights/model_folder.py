"""Model folders: safetensors and plain JSON, laid out as `diffusers` does, written once and opened by name.

A family says what its folders consist of (`FolderPart`). STAR's, for example::

    DIR/model_index.json                 which part is of which class, and what each file is
    DIR/unet/config.json                 the architecture
    DIR/unet/diffusion_pytorch_model.safetensors   (or -00001-of-0000N with an index, above 5 GB)
    DIR/vae/, DIR/text_encoder/, DIR/tokenizer/    when they were converted too
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import OutputExistsError, OutputNotWritableError
from starvsr.models.weights.digests import known_digest
from starvsr.models.weights.releases import COMPONENT_KEY, ORIGIN_KEY, OWN
from starvsr.models.weights.save import save_tensors
from starvsr.models.weights.tensors import read_tensors
from starvsr.version import __version__

SHARD_BYTES = 5_000_000_000
"""Largest file that is written; more is split."""

INDEX = "model_index.json"


@dataclass(frozen=True, kw_only=True)
class FolderPart:
    """One folder of a model folder.

    Args:
        role: Which part of the model it is.
        folder: Its name, also in the index.
        made_by: Library and class that open it.
        summary: What its tensors are.
        source: The file or folder that they come from.
        tensors: Returns them; None reads ``source`` as it is.
        stem: Name of their file, without suffix.
        config: Its ``config.json``: values, or a file to copy; None for none.
        config_summary: What that is.
        copies: Files to copy and what they are, by the names they get.
        component: The published component that the tensors are.
        is_own: The tensors are the user's own: neither digest nor place says that they were published.
    """

    role: str
    folder: str
    made_by: tuple[str, str]
    summary: str = ""
    source: Path | None = None
    tensors: Callable[[], Mapping[str, Tensor]] | None = None
    stem: str = "diffusion_pytorch_model"
    config: Mapping[str, Any] | Path | None = None
    config_summary: str = ""
    copies: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    component: str | None = None
    is_own: bool = False


def write_folder(
    parts: Sequence[FolderPart],
    out: Path,
    *,
    pipeline: str,
    name: str | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, str]:
    """Write a model folder; it appears under its name only when whole.

    Args:
        parts: What it consists of.
        out: The folder.
        pipeline: Class that opens it as a whole, for the index.
        name: Name of the model, if it has one.
        dtype: Number type to write; None keeps the files'.
        overwrite: Replace a folder that is there.
        shard_bytes: Largest file to write.

    Returns:
        What each file is, by its path in the folder.

    Raises:
        WeightsError: A part is damaged or not what it should be.
        OutputExistsError: The folder is there.
        OutputNotWritableError: The folder cannot be written.
    """
    with _new_folder(out, overwrite=overwrite) as folder:
        writer = _Writer(folder, dtype, shard_bytes)
        for part in parts:
            writer.add(part)
        classes = {part.folder: list(part.made_by) for part in parts}
        index = {"_class_name": pipeline, "_starvsr_version": __version__, "_name": name, **classes}
        writer.add_json(INDEX, {**index, "_files": writer.summaries}, "this list")
    return writer.summaries


def architecture(name: str, config: Any) -> dict[str, Any]:
    """Return the values of a ``config.json`` for a class of ours with a dataclass of settings."""
    return {"_class_name": name, "_starvsr_version": __version__, **dataclasses.asdict(config)}


def name_of(folder: Path) -> str | None:
    """Return the name of the model in a model folder; None for a network alone, or for what is no model folder."""
    return _in_index(folder, "_name")


def class_of(folder: Path) -> str | None:
    """Return the class that opens a model folder as a whole; None for what is no model folder."""
    return _in_index(folder, "_class_name")


def _in_index(folder: Path, key: str) -> str | None:
    try:
        value = json.loads((folder / INDEX).read_text())[key]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


def plan_shards(tensors: Mapping[str, Tensor], dtype: torch.dtype | None, limit: int) -> list[list[str]]:
    """Split names, in their order, into groups of at most ``limit`` bytes (one tensor at least)."""
    shards: list[list[str]] = [[]]
    filled = 0
    for key, tensor in tensors.items():
        size = tensor.numel() * (dtype or tensor.dtype).itemsize
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += size
    return shards


class _Writer:
    """Writes the files of a folder and keeps a list of what each one is."""

    def __init__(self, folder: Path, dtype: torch.dtype | None, shard_bytes: int) -> None:
        self.summaries: dict[str, str] = {}
        self._folder, self._dtype, self._limit = folder, dtype, shard_bytes

    def add(self, part: FolderPart) -> None:
        """Write a part: configuration, tensors, copies."""
        if isinstance(part.config, Path):
            self.add_copy(f"{part.folder}/config.json", part.config, part.config_summary)
        elif part.config is not None:
            self.add_json(f"{part.folder}/config.json", part.config, part.config_summary)
        if part.source is not None:
            self._add_tensors(part, part.source)
        for name, (source, summary) in part.copies.items():
            self.add_copy(f"{part.folder}/{name}", source, summary)

    def add_json(self, path: str, values: Mapping[str, Any], summary: str) -> None:
        """Write a JSON file."""
        self.summaries[path] = summary
        self._place(path).write_text(json.dumps(values, indent=2) + "\n")

    def add_copy(self, path: str, source: Path, summary: str) -> None:
        """Copy a file."""
        self.summaries[path] = summary
        shutil.copyfile(source, self._place(path))

    def _add_tensors(self, part: FolderPart, source: Path) -> None:
        """Write tensors to one file, or to several and an index."""
        tensors = read_tensors(source) if part.tensors is None else part.tensors()
        metadata = {"format": "pt"}
        if part.component is not None:
            metadata[COMPONENT_KEY] = part.component
        elif part.is_own:
            metadata[ORIGIN_KEY] = OWN
        shards = plan_shards(tensors, self._dtype, self._limit)
        places: dict[str, str] = {}
        for number, keys in enumerate(shards, 1):
            count = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
            name = f"{part.stem}{count}.safetensors"
            share = f", part {number} of {len(shards)}" if count else ""
            self.summaries[f"{part.folder}/{name}"] = f"{part.summary}{_origin(part, source)}{share}"
            block = {key: self._as_written(tensors[key]) for key in keys}
            save_tensors(block, self._place(f"{part.folder}/{name}"), metadata)
            places |= dict.fromkeys(keys, name)
        if len(shards) > 1:
            total = sum(tensor.numel() * (self._dtype or tensor.dtype).itemsize for tensor in tensors.values())
            index = {"metadata": {"total_size": total}, "weight_map": places}
            path = f"{part.folder}/{part.stem}.safetensors.index.json"
            self.add_json(path, index, "which tensor is in which part")

    def _as_written(self, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        return tensor if self._dtype is None or not tensor.is_floating_point() else tensor.to(self._dtype)

    def _place(self, path: str) -> Path:
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _origin(part: FolderPart, path: Path) -> str:
    """Say which file tensors came from, by name and digest, and whether these are published weights."""
    known = f": {part.component}" if part.component else ": your own weights, not known as published ones"
    digest = f" (SHA-256 {known_digest(path)})" if path.is_file() else ""
    return f", from {path.name}{digest}{known if part.component or part.is_own else ''}"


@contextmanager
def _new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to fill, which takes its name when the block ends well and is gone when it does not."""
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} is there already: give another folder, or --overwrite")
    if out.exists() and not (out / INDEX).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(f"{out} is no model folder, so it is not replaced: give another folder")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial, out)
    except OSError as error:
        raise OutputNotWritableError(f"cannot write {out}: {error}; give another folder, or free some space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
