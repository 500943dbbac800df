"""Entry points of training: a recipe in, a folder of checkpoints, inference weights and their card out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from starvsr.errors import DataError
from starvsr.families.precision import check_bfloat16
from starvsr.families.registry import MODELS
from starvsr.models.weight_ends import join_ends
from starvsr.models.weights import read_tensors, save_weights
from starvsr.training.card import model_card
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.distributed import Processes
from starvsr.training.families import FAMILIES, family_of
from starvsr.training.family import start_of
from starvsr.training.loop import Trainer
from starvsr.training.recipe import load_recipe, print_note, stored_recipe


def train(
    recipe: Path,
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    start_from: Path | None = None,
    device: str = "cpu",
    allow_changes: bool = False,
) -> Path:
    """Train by a recipe, or continue a run begun in ``folder``, and export the averaged weights.

    Under torchrun all processes train together and the first one writes.

    Returns:
        Path of the exported weights.
    """
    first = os.environ.get("RANK", "0") == "0"
    config = load_recipe(recipe, overrides, on_note=print_note if first else lambda text: None)
    path = folder / weights_name(config.model)
    if config.run.precision == "bf16" and device == "cpu":
        check_bfloat16()
    processes = Processes.join(device)
    try:
        trainer = Trainer(config, folder, start_from=start_from, processes=processes, allow_changes=allow_changes)
        trainer.run()
        if processes.is_first:
            export(folder, path, recipe=recipe.name)
        processes.wait()
    finally:
        processes.leave()
    return path


def export(folder: Path, path: Path, *, recipe: str = "", raw: bool = False, faithful: Path | None = None) -> Path:
    """Write the averaged weights of the newest checkpoint as float16 safetensors, and a card beside them.

    Those of a published model have the published names, so that `starvsr upscale --model star-light --weights` opens
    them; what never trained comes from the file that the run began with.

    Args:
        folder: folder of a run.
        path: target; ``NAME.safetensors`` gets a card ``NAME.md``.
        recipe: name of the recipe, for the record.
        raw: take the last weights instead of their average.
        faithful: weights exported before the run was trained for looks; both go into one file, for `--detail`.

    Raises:
        DataError: no checkpoint in the folder, or the file that the run began with has changed; two ends for a model
            that cannot go between them.
        WeightsError: that file is gone, or the two ends are not of one network.
    """
    newest = latest_checkpoint(folder)
    if newest is None:
        raise DataError(f"no checkpoint in {folder}: train first, or name the folder of a run")
    state = load_checkpoint(newest)
    config, start = stored_recipe(json.loads(state["config"])), start_of(state)
    family = family_of(config.model)
    metadata = {"format": "pt", "step": str(state["step"]), "recipe": recipe, "model": config.model}
    if config.network:
        metadata["network"] = json.dumps(config.network)
    if config.stage[-1].teaches_all_levels:
        metadata["samples"] = "true"
    tensors = state["network"] if raw else {**state["network"], **state["average"]}
    tensors = family.exported(tensors, config, start)
    if faithful is not None:
        if not family.has_ends:
            others = ", ".join(
                name for name, one in MODELS.items() if type(one) in FAMILIES and family_of(name).has_ends
            )
            raise DataError(f"{config.model} has no --detail: leave out --faithful, which is for {others}")
        tensors = join_ends(read_tensors(faithful), tensors)
        metadata["ends"] = f"faithful: {faithful.name}; vivid: step {state['step']}"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(tensors, path, dtype=torch.float16, metadata=metadata)
    del tensors
    path.with_suffix(".md").write_text(model_card(path, folder, config, family, metadata, start), encoding="utf-8")
    return path


def weights_name(model: str) -> str:
    """Return the file name that a model's exported weights get."""
    return family_of(model).weights_name
