"""The door of training: a recipe in, a folder of checkpoints and inference weights out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from starvsr.errors import DataError
from starvsr.models.registry import get_spec
from starvsr.models.weights import save_weights
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.config import load_recipe
from starvsr.training.loop import Trainer


def train(recipe: Path, folder: Path, overrides: Sequence[str] = (), *, start_from: Path | None = None) -> Path:
    """Train by a recipe, or go on with a run begun in ``folder``, and export the averaged weights.

    Returns:
        Path of the exported weights.
    """
    config = load_recipe(recipe, overrides)
    Trainer(config, folder, start_from=start_from).run()
    return export(folder, folder / get_spec(config.model).weights, recipe=recipe.name)


def export(folder: Path, path: Path, *, recipe: str = "") -> Path:
    """Write the averaged weights of the newest checkpoint in ``folder`` as float16 safetensors."""
    newest = latest_checkpoint(folder)
    if newest is None:
        raise DataError(f"no checkpoint in {folder}: train first, or name the folder of a run")
    state = load_checkpoint(newest)
    metadata = {"format": "pt", "step": str(state["step"]), "recipe": recipe}
    save_weights(state["average"], path, dtype=torch.float16, metadata=metadata)
    return path
