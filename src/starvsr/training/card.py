"""The model card that exported weights get: what they are, how they came about, what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starvsr.families.network_files.network_file import NetworkFile
from starvsr.models.weights import read_tensors, tensors_digest
from starvsr.training.config import TrainConfig
from starvsr.training.family import TrainingFamily
from starvsr.training.model import Start
from starvsr.video.write.publish import file_sha256


def model_card(
    path: Path,
    file: Path,
    folder: Path,
    config: TrainConfig,
    family: TrainingFamily[Any],
    metadata: Mapping[str, str],
    start: Start | None,
) -> str:
    """Describe weights in Markdown.

    Args:
        path: what `starvsr upscale --weights` is given, a file or a folder.
        file: the weights, a file or a folder of safetensors.
        folder: the run.
        config: its recipe.
        family: how the model is trained.
        metadata: of the file: "step", "recipe", "share" of weights between two, "ends", "stored".
        start: what the run began with, if that is known.
    """
    tensors = read_tensors(file).values()
    values = sum(tensor.numel() for tensor in tensors)
    types = " and ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))
    if metadata.get("stored") == "int8":
        types = "8 bits (small tensors in float16)"
    lines = [
        f"# {path.stem}",
        "",
        f"Weights of {config.model}, {values:,} values in {types}, after {metadata['step']} steps"
        + (f" of {metadata['recipe']}." if metadata["recipe"] else "."),
        "",
        f"    starvsr upscale CLIP{family.upscale_words} {family.weights_option} {path.name}",
        "",
        f"SHA-256 {tensors_digest(file)}",
        "",
        "## Training",
        "",
        "| stage | objective | steps | learning rate | losses |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, stage in enumerate(config.stage):
        weights = dataclasses.asdict(stage.tables.losses)
        losses = ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight)
        lines.append(f"| {number} | {stage.objective} | {stage.steps} | {stage.lr:g} | {losses} |")
    data = config.data
    source = "stored pairs" if data.pairs else f'degradation "{data.degradation}" on the fly'
    lines += ["", f"Data: {source}; seed {config.seed}; batches of {data.batch}."]
    if config.network:
        lines += ["", f"Network changes: `{json.dumps(config.network)}`."]
    begun = start is not None and start.path is not None
    if start is not None and start.path is not None:
        lines += ["", f"Started from {start.path.name} (SHA-256 {start.digest or 'of a folder'})."]
    examples = _examples(config)
    lines += [line for example in examples for line in ("", f"Imitated: {example}.")]
    if "share" in metadata:
        lines += ["", f"These weights lie {metadata['share']} to the run's own."]
    if "ends" in metadata:
        lines += ["", f"Two ends, between which `--detail` goes: {metadata['ends']}."]
    measured = _last_validation(folder)
    if measured:
        lines += ["", "## Validation of the averaged weights", "", "| number | value |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in measured.items()]
    lines += [
        "",
        "## Licence",
        "",
        f"{family.entry.licence}, if the data"
        + (" and what it started from" if begun else "")
        + (" and what was imitated" if examples else "")
        + " allow it: say here what they were.",
    ]
    return "\n".join(lines) + "\n"


def _examples(config: TrainConfig) -> list[str]:
    """Name the networks that stages imitate, with their digests where their files are still there."""
    named = {}
    for stage in config.stage:
        table = getattr(stage.tables, "regression", None)
        network = NetworkFile.of(Path(table.example)) if table is not None and stage.tables.losses.imitates else None
        for file in network.files if network is not None else []:
            named[file.name] = f" (SHA-256 {file_sha256(file)})" if file.is_file() else ""
    return [name + digest for name, digest in named.items()]


def _last_validation(folder: Path) -> dict[str, Any]:
    log = folder / "log.jsonl"
    found: dict[str, Any] = {}
    for line in log.read_text().splitlines() if log.is_file() else []:
        entry = json.loads(line)
        if entry.get("event") == "validation":
            found = {k: v for k, v in entry.items() if k not in ("event", "time")}
    return found
