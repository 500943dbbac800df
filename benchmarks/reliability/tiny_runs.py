"""Run the published network and training at tiny size, with random weights, for `equal_bytes`.

    python -m benchmarks.reliability.tiny_runs upscale INPUTS OUT SETTINGS
    python -m benchmarks.reliability.tiny_runs train-small|train-published OUT

SETTINGS are options of `starvsr.upscale` as JSON. Training writes the exported weights and the digests of every
tensor of its checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import starvsr
from starvsr.families import registry
from starvsr.families.star_i2vgen import load
from starvsr.training.checkpoints import load_checkpoint
from starvsr.training.loop import Trainer
from starvsr.training.recipe import load_recipe
from tests.training import tiny


def register() -> None:
    """Put tiny networks in the place of the published ones, and one named "tiny" beside them."""
    registry.MODELS["star-light"] = tiny.published_entries()
    registry.MODELS["tiny"] = tiny.TINY
    load.TEXT_TOWER = tiny.TOWER


def upscale(inputs: Path, out: Path, settings: dict[str, Any], scratch: Path) -> None:
    """Send a folder of images through the tiny published network."""
    folder = tiny.write_published(scratch / "models")
    (folder / "unet").mkdir()
    tensors = torch.load(folder / "light_deg.pt", weights_only=True)["state_dict"]
    save_file(tensors, folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = folder / "vae"
    (vae / "diffusion_pytorch_model.fp16.safetensors").rename(vae / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text("{}")
    models = scratch / "folder"
    folder.rename(models)
    starvsr.upscale(inputs / "frames", out / "a.mkv", model="star-light", weights=str(models), device="cpu", **settings)


def train(kind: str, out: Path, scratch: Path) -> None:
    """Train for a few steps and keep what came of it."""
    if kind == "train-small":
        recipe = tiny.write_recipe(scratch)
    else:
        recipe = tiny.write_published_recipe(scratch, tiny.write_published(scratch / "models"))
    run = scratch / "run"
    Trainer(load_recipe(recipe, ["data.workers=0"]), run).run()
    for path in run.rglob("*.safetensors"):
        shutil.copy(path, out / path.name)
    for path in sorted(run.glob("step-*.pt")):
        state = load_checkpoint(path)
        lines = [line for name in ("network", "average", "optimizer") for line in _digests(state.get(name), name)]
        (out / f"{path.name}.txt").write_text("\n".join(lines))


def _digests(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, torch.Tensor):
        content = value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        yield f"{name} {hashlib.sha256(content).hexdigest()}"
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _digests(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _digests(part, f"{name}.{index}")


def main() -> None:
    """Do what the arguments say."""
    torch.set_num_threads(1)
    register()
    kind, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        if kind == "upscale":
            upscale(Path(rest[0]), Path(rest[1]), json.loads(rest[2]), Path(name))
        else:
            train(kind, Path(rest[0]), Path(name))


if __name__ == "__main__":
    main()
