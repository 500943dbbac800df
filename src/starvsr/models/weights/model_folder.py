"""Model folders: safetensors and plain JSON, laid out as `diffusers` does, written once and opened by name.

::

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from starvsr.errors import OutputExistsError, OutputNotWritableError, WeightsError
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTowerConfig, tower_weights
from starvsr.models.weights.assign import build_empty, check_fit
from starvsr.models.weights.digests import known_digest
from starvsr.models.weights.locate import ModelFiles
from starvsr.models.weights.star import load_star_unet
from starvsr.models.weights.tensors import read_tensors
from starvsr.version import __version__

SHARD_BYTES = 5_000_000_000
"""Largest file that is written; more is split."""

INDEX = "model_index.json"
_UNET, _TEXT = "diffusion_pytorch_model", "model"


def convert(
    files: ModelFiles,
    out: Path,
    *,
    name: str | None = None,
    config: StarUNetConfig | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, str]:
    """Write a model folder; it appears under its name only when whole.

    Args:
        files: Where the parts lie; only the network is needed.
        out: The folder.
        name: Name of the model, if it has one.
        config: Sizes of the network; None is the published one.
        dtype: Number type to write; None keeps the files'.
        overwrite: Replace a folder that is there.
        shard_bytes: Largest file to write.

    Returns:
        What each file is, by its path in the folder.

    Raises:
        WeightsError: a part is damaged or not what it should be.
        OutputExistsError: the folder is there.
        OutputNotWritableError: the folder cannot be written.
    """
    config = config or StarUNetConfig()
    tensors = read_tensors(files["unet"])
    check_fit(build_empty(lambda: StarUNet(config)).state_dict(), tensors, files["unet"])
    with _new_folder(out, overwrite=overwrite) as folder:
        book = _Book(folder, dtype, shard_bytes)
        book.add_json("unet/config.json", _config("StarUNet", config), "architecture of the network")
        book.add_tensors("unet", _UNET, tensors, f"UNet and ControlNet of STAR{_origin(files['unet'])}")
        classes = {"unet": ["starvsr", "StarUNet"]}
        if "vae" in files and "vae/config.json" in files:
            classes["vae"] = ["diffusers", "AutoencoderKLTemporalDecoder"]
            book.add_copy("vae/config.json", files["vae/config.json"], "architecture of the VAE")
            book.add_tensors("vae", _UNET, read_tensors(files["vae"]), f"temporal VAE{_origin(files['vae'])}")
        if "text" in files:
            classes["text_encoder"] = _add_text(book, files)
        if "text/merges.txt" in files:
            classes["tokenizer"] = ["starvsr", "Tokenizer"]
            book.add_copy("tokenizer/merges.txt", files["text/merges.txt"], "merges of the byte-pair encoding")
        index = {"_class_name": "StarPipeline", "_starvsr_version": __version__, "_name": name, **classes}
        book.add_json(INDEX, {**index, "_files": book.words}, "this list")
    return book.words


def from_pretrained(folder: Path, *, dtype: torch.dtype | None = None) -> StarUNet:
    """Open the network of a model folder that :func:`convert` wrote; its parameters are mapped from the files.

    Args:
        folder: The model folder, or its ``unet`` folder.
        dtype: Number type of the parameters; None keeps the files'.

    Raises:
        WeightsError: it is no such folder, or damaged.
    """
    if (folder / INDEX).is_file():
        folder = folder / "unet"
    return load_star_unet(folder, read_config(folder), dtype=dtype)


def read_config(folder: Path) -> StarUNetConfig:
    """Read the architecture of a ``unet`` folder.

    Raises:
        WeightsError: there is none, or it is of another class.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text())
        if values.get("_class_name") != "StarUNet":
            raise WeightsError(f"{path} describes a {values.get('_class_name')}, not a StarUNet: give a folder of STAR")
        known = {field.name for field in dataclasses.fields(StarUNetConfig)}
        given = {key: value for key, value in values.items() if not key.startswith("_")}
        if unknown := sorted(given.keys() - known):
            raise WeightsError(f"{path} has settings unknown here ({', '.join(unknown)}): use a newer starvsr")
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        return StarUNetConfig(**settings)
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"cannot read {path}: {error}; give a folder written by `starvsr models convert`") from error


def describe_folder(folder: Path) -> dict[str, str]:
    """Return what each file of a model folder is, by its path in the folder.

    Raises:
        WeightsError: it is no model folder.
    """
    try:
        words = json.loads((folder / INDEX).read_text())["_files"]
        return {str(path): str(text) for path, text in words.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{folder} is no model folder: it has no {INDEX} that lists its files") from error


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


class _Book:
    """Writes the files of a folder and keeps a list of what each one is."""

    def __init__(self, folder: Path, dtype: torch.dtype | None, shard_bytes: int) -> None:
        self.words: dict[str, str] = {}
        self._folder, self._dtype, self._limit = folder, dtype, shard_bytes

    def add_json(self, path: str, values: Mapping[str, Any], words: str) -> None:
        self.words[path] = words
        self._place(path).write_text(json.dumps(values, indent=2) + "\n")

    def add_copy(self, path: str, source: Path, words: str) -> None:
        self.words[path] = words
        shutil.copyfile(source, self._place(path))

    def add_tensors(self, part: str, stem: str, tensors: Mapping[str, Tensor], words: str) -> None:
        """Write tensors to one file, or to several and an index."""
        shards = plan_shards(tensors, self._dtype, self._limit)
        places: dict[str, str] = {}
        for number, keys in enumerate(shards, 1):
            count = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
            name = f"{stem}{count}.safetensors"
            share = f", part {number} of {len(shards)}" if count else ""
            self.words[f"{part}/{name}"] = f"{words}{share}"
            block = {key: self._as_written(tensors[key]) for key in keys}
            save_file(block, self._place(f"{part}/{name}"), metadata={"format": "pt"})
            places |= dict.fromkeys(keys, name)
        if len(shards) > 1:
            total = sum(tensor.numel() * (self._dtype or tensor.dtype).itemsize for tensor in tensors.values())
            index = {"metadata": {"total_size": total}, "weight_map": places}
            self.add_json(f"{part}/{stem}.safetensors.index.json", index, "which tensor is in which part")

    def _as_written(self, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        return tensor if self._dtype is None or not tensor.is_floating_point() else tensor.to(self._dtype)

    def _place(self, path: str) -> Path:
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _add_text(book: _Book, files: ModelFiles) -> list[str]:
    """Keep the layout of `transformers` where it comes with its configuration; OpenCLIP's becomes our own."""
    tensors, words = read_tensors(files["text"]), f"text tower{_origin(files['text'])}"
    config = files.get("text/config.json")
    if config is not None and "TextTower" not in config.read_text():  # that is our own layout
        book.add_copy("text_encoder/config.json", config, "architecture of the text tower")
        book.add_tensors("text_encoder", _TEXT, tensors, words)
        return ["transformers", "CLIPTextModel"]
    book.add_json("text_encoder/config.json", _config("TextTower", TextTowerConfig()), "architecture of the text tower")
    book.add_tensors("text_encoder", _TEXT, tower_weights(tensors), words)
    return ["starvsr", "TextTower"]


def _config(name: str, config: Any) -> dict[str, Any]:
    return {"_class_name": name, "_starvsr_version": __version__, **dataclasses.asdict(config)}


def _origin(path: Path) -> str:
    """Say which file tensors came from, by name and digest."""
    return f", from {path.name} (SHA-256 {known_digest(path)})" if path.is_file() else f", from {path.name}"


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
        raise OutputNotWritableError(f"cannot write {out}: {error}; give another folder, or make room") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
