"""The door of training: a recipe in, a folder of checkpoints, inference weights and their card out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from starvsr.errors import DataError
from starvsr.models.registry import get_spec
from starvsr.models.weights import digest, save_weights
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint
from starvsr.training.config import load_recipe
from starvsr.training.loop import Trainer
from starvsr.training.processes import Processes
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
    path = folder / get_spec(config.model).weights
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


def export(folder: Path, path: Path, *, recipe: str = "", raw: bool = False) -> Path:
    """Write the averaged weights of the newest checkpoint as float16 safetensors, and a card beside them.

    Args:
        folder: folder of a run.
        path: target; ``NAME.safetensors`` gets a card ``NAME.md``.
        recipe: name of the recipe, for the record.
        raw: take the last weights instead of their average.

    Raises:
        DataError: no checkpoint in the folder.
    """
    newest = latest_checkpoint(folder)
    if newest is None:
        raise DataError(f"no checkpoint in {folder}: train first, or name the folder of a run")
    state = load_checkpoint(newest)
    config = json.loads(state["config"])
    metadata = {"format": "pt", "step": str(state["step"]), "recipe": recipe, "model": config["model"]}
    if config.get("network"):
        metadata["network"] = json.dumps(config["network"])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(state["network" if raw else "average"], path, dtype=torch.float16, metadata=metadata)
    path.with_suffix(".md").write_text(_card(path, folder, state, config, metadata), encoding="utf-8")
    return path


def _card(path: Path, folder: Path, state: dict[str, Any], config: dict[str, Any], metadata: dict[str, str]) -> str:
    """Describe weights: what they are, how they came about, what was measured."""
    values = sum(tensor.numel() for tensor in state["average"].values())
    lines = [
        f"# {path.stem}",
        "",
        f"Weights of {config['model']}, {values:,} values in float16, after {state['step']} steps"
        + (f" of {metadata['recipe']}." if metadata["recipe"] else "."),
        "",
        f"    starvsr upscale CLIP --weights {path.name}",
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
    measured = _last_validation(folder)
    if measured:
        lines += ["", "## Validation of the averaged weights", "", "| number | value |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in measured.items()]
    lines += [
        "",
        "## Licence",
        "",
        f"{get_spec(config['model']).licence}, if the data allow it: say here what they were.",
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
