"""The door of training: a recipe in, a folder of checkpoints, inference weights and their card out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from starvsr.errors import DataError
from starvsr.families.causal_sr.spec import CausalSRSpec
from starvsr.families.registry import get_entry, get_spec, names_of
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.families.star_small.spec import StarSmallSpec
from starvsr.models.weight_ends import join_ends
from starvsr.models.weights import digest, read_tensors, save_weights
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.config import load_recipe
from starvsr.training.distributed import Processes
from starvsr.training.loop import Trainer
from starvsr.training.published import Start, whole_tensors
from starvsr.training.trainee import network_config
from starvsr.training.validation import Measure


def train(
    recipe: Path,
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    start_from: Path | None = None,
    device: str = "cpu",
    measures: Mapping[str, Measure] | None = None,
    allow_changes: bool = False,
) -> Path:
    """Train by a recipe, or go on with a run begun in ``folder``, and export the averaged weights.

    Under torchrun all processes train together and the first one writes.

    Returns:
        Path of the exported weights.
    """
    config = load_recipe(recipe, overrides)
    path = folder / weights_name(config.model)
    processes = Processes.join(device)
    try:
        trainer = Trainer(
            config,
            folder,
            start_from=start_from,
            processes=processes,
            measures=measures,
            allow_changes=allow_changes,
        )
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
    config = json.loads(state["config"])
    metadata = {"format": "pt", "step": str(state["step"]), "recipe": recipe, "model": config["model"]}
    if config.get("network"):
        metadata["network"] = json.dumps(config["network"])
    if can_sample(config["stage"]):
        metadata["samples"] = "true"
    tensors = state["network"] if raw else {**state["network"], **state["average"]}
    begun = state.get("start")
    if begun is not None:
        start = Start(begun["word"], Path(begun["path"]) if begun["path"] else None, begun["digest"])
        unet = get_spec(config["model"], StarI2VGenSpec).unet
        tensors = whole_tensors(start, tensors, network_config(unet, config["network"]))
    if faithful is not None:
        if not isinstance(get_entry(config["model"]), CausalSRSpec):
            raise DataError(
                f"{config['model']} has no --detail: leave out --faithful, which is for "
                f"{', '.join(names_of(CausalSRSpec))}"
            )
        tensors = join_ends(read_tensors(faithful), tensors)
        metadata["ends"] = f"faithful: {faithful.name}; vivid: step {state['step']}"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(tensors, path, dtype=torch.float16, metadata=metadata)
    del tensors
    path.with_suffix(".md").write_text(_card(path, folder, state, config, metadata), encoding="utf-8")
    return path


def can_sample(stages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a network can be sampled from noise: its last stage taught it all noise levels, not one step alone."""
    last = stages[-1]
    return last["objective"] in ("velocity", "star", "consistency") or bool(last["velocity_every"])


def weights_name(model: str) -> str:
    """Return the file name that a model's exported weights get."""
    entry = get_entry(model)
    return entry.weights if isinstance(entry, StarSmallSpec | CausalSRSpec) else f"{model}.safetensors"


def _card(path: Path, folder: Path, state: dict[str, Any], config: dict[str, Any], metadata: dict[str, str]) -> str:
    """Describe weights: what they are, how they came about, what was measured."""
    entry, begun = get_entry(config["model"]), state.get("start")
    published = isinstance(entry, StarI2VGenSpec)
    values = sum(tensor.numel() for tensor in read_tensors(path).values())
    model = f" --model {entry.name}" if published else ""
    lines = [
        f"# {path.stem}",
        "",
        f"Weights of {config['model']}, {values:,} values in float16, after {state['step']} steps"
        + (f" of {metadata['recipe']}." if metadata["recipe"] else "."),
        "",
        f"    starvsr upscale CLIP{model} --weights {path.name}",
        "",
        f"SHA-256 {digest(path)}",
        "",
        "## Training",
        "",
        "| stage | objective | steps | learning rate | losses |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, stage in enumerate(config["stage"]):
        losses = ", ".join(
            f"{k.removesuffix('_weight')} {v:g}" for k, v in stage.items() if k.endswith("_weight") and v
        )
        lines.append(f"| {number} | {stage['objective']} | {stage['steps']} | {stage['lr']:g} | {losses} |")
    data = config["data"]
    source = "stored pairs" if data.get("pairs") else f'degradation "{data["degradation"]}" on the fly'
    lines += ["", f"Data: {source}; seed {config['seed']}; batches of {data['batch']}."]
    if config.get("network"):
        lines += ["", f"Network changes: `{json.dumps(config['network'])}`."]
    if begun and begun["path"]:
        lines += ["", f"Started from {Path(begun['path']).name} (SHA-256 {begun['digest'] or 'of a folder'})."]
    measured = _last_validation(folder)
    if measured:
        lines += ["", "## Validation of the averaged weights", "", "| number | value |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in measured.items()]
    lines += [
        "",
        "## Licence",
        "",
        f"{entry.licence}, if the data"
        + (" and what it started from" if published else "")
        + " allow it: say here what they were.",
    ]
    return "\n".join(lines) + "\n"


def _last_validation(folder: Path) -> dict[str, Any]:
    log = folder / "log.jsonl"
    found: dict[str, Any] = {}
    for line in log.read_text().splitlines() if log.is_file() else []:
        entry = json.loads(line)
        if entry.get("event") == "validation":
            found = {k: v for k, v in entry.items() if k not in ("event", "time")}
    return found
