"""Entry points of training: a recipe in, a folder of checkpoints, inference weights and their card out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starvsr.engine.allocator import keep_all_freed_memory
from starvsr.errors import DataError, OptionError
from starvsr.families.precision import check_bfloat16
from starvsr.families.registry import MODELS
from starvsr.models.weight_ends import FAITHFUL, VIVID, join_ends, one_end
from starvsr.models.weights import compact, read_tensors, save_weights
from starvsr.training.card import model_card
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.distributed import Processes
from starvsr.training.families import FAMILIES, family_of
from starvsr.training.family import TrainingFamily, start_of
from starvsr.training.interpolation import between_weights
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
    path = folder / weights_name(config.model, config.stage[0].objective)
    if config.run.precision == "bf16" and device == "cpu":
        check_bfloat16()
    if device == "cpu":
        keep_all_freed_memory()
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


def export(
    folder: Path,
    path: Path | None = None,
    *,
    recipe: str = "",
    raw: bool = False,
    faithful: Path | None = None,
    lora: bool = False,
    begun_with: Path | None = None,
    share: float = 1.0,
    vivid: Path | None = None,
    int8: bool = False,
) -> Path:
    """Write the averaged weights of the newest checkpoint as float16 safetensors, and a card beside them.

    Those of a published model have the published names, so that `starvsr upscale --model star-light --weights` opens
    them; what never trained comes from the file that the run began with. For stablevsr and STAR on CogVideoX a model
    folder is written, as the published ones are laid out.

    Args:
        folder: folder of a run.
        path: target, a file or a folder; ``NAME.safetensors`` and ``NAME`` get a card ``NAME.md``. None is
            ``weights.safetensors`` (``lora.safetensors``), or a folder of the model's name, in the run's folder.
        recipe: name of the recipe, for the record.
        raw: take the last weights instead of their average.
        faithful: weights exported before the run was trained for looks; both go into one file, for `--detail`.
            Of a file with two ends it is the faithful one; of ``vivid`` the vivid one.
        vivid: weights that the run began with and was trained back to fidelity from; both go into one file, likewise.
        lora: write what was trained alone, in float32, for the CogVideoX that the run began with.
        begun_with: weights that the run began with, for ``share``.
        share: where between these (0) and the run's own (1) the weights lie.
        int8: store large weights in 8 bits (:mod:`starvsr.models.weights.compact`), in half the size.

    Raises:
        OptionError: a name for a file where a folder is written, or one that does not end in .safetensors.
        DataError: no checkpoint in the folder, or the file that the run began with has changed; two ends for a model
            that cannot go between them; no LoRA in the run.
        WeightsError: that file is gone, or the two ends are not of one network.
    """
    newest = latest_checkpoint(folder)
    if newest is None:
        raise DataError(f"no checkpoint in {folder}: train first, or name the folder of a run")
    state = load_checkpoint(newest)
    config, start = stored_recipe(json.loads(state["config"])), start_of(state)
    family = family_of(config.model, config.stage[0].objective)
    if lora and not family.has_lora:
        raise DataError(f"{config.model} is trained without LoRA: leave out --lora, which is for {_those('has_lora')}")
    path = _export_target(folder, path, family, lora=lora)
    metadata = {"format": "pt", "step": str(state["step"]), "recipe": recipe, "model": config.model}
    if config.network:
        metadata["network"] = json.dumps(config.network)
    if config.stage[-1].teaches_all_levels:
        metadata["samples"] = "true"
    tensors = state["network"] if raw else {**state["network"], **state["average"]}
    if not lora:
        tensors = family.exported(tensors, config, start)
    if begun_with is not None:
        if family.writes_folder:
            raise DataError(f"weights of {config.model} are a folder: leave out --begun-with")
        tensors = between_weights(begun_with, tensors, share)
        metadata["share"] = f"{share:g} of the way from {begun_with.name}"
    if not family.has_ends:
        for given, word in ((faithful, "--faithful"), (vivid, "--vivid"), (int8 or None, "--int8")):
            if given is not None:
                raise DataError(f"{config.model}: leave out {word}, which is for {_those('has_ends')}")
    if faithful is not None:
        tensors = join_ends(one_end(read_tensors(faithful), FAITHFUL), tensors)
        metadata["ends"] = f"faithful: {faithful.name}; vivid: step {state['step']}"
    elif vivid is not None:
        tensors = join_ends(tensors, one_end(read_tensors(vivid), VIVID))
        metadata["ends"] = f"faithful: step {state['step']}; vivid: {vivid.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path
    if int8:
        metadata["stored"] = "int8"
        save_weights(compact(tensors), path, dtype=None, metadata=metadata)
    else:
        write = family.write_lora if lora else family.write
        file = write(path, dict(tensors), config, start, metadata)
    del tensors
    card = model_card(path, file, folder, config, family, metadata, start)
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    return path


def _those(trait: str) -> str:
    """Return the names of the models whose families have a trait."""
    known = [name for name, one in MODELS.items() if type(one) in FAMILIES]
    return ", ".join(name for name in known if getattr(family_of(name), trait))


def _export_target(folder: Path, path: Path | None, family: TrainingFamily[Any], *, lora: bool) -> Path:
    if family.writes_folder and not lora:
        if path is not None and (path.suffix == ".safetensors" or path.is_file()):
            raise OptionError(f"{path}: {family.entry.name} is written as a model folder; give the name of a folder")
        if family.is_part and path is not None and path.name != family.weights_name:
            return path / family.weights_name
        return path or folder / family.weights_name
    if path is not None and path.suffix != ".safetensors":
        raise OptionError(f"{path}: weights are written as safetensors; give a name that ends in .safetensors")
    return path or folder / ("lora.safetensors" if lora else "weights.safetensors")


def weights_name(model: str, objective: str = "") -> str:
    """Return the file name that exported weights of a model get, or of what of it an objective trains."""
    return family_of(model, objective).weights_name
