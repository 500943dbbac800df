"""A run that is killed and resumed ends bit for bit where an undisturbed one ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from starvsr.errors import DataError, OutputNotWritableError, WeightsError
from starvsr.families import registry
from starvsr.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from starvsr.training.loop import Trainer
from starvsr.training.recipe import load_recipe
from starvsr.training.run import export
from tests.training.tiny import TINY, forked, write_recipe


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    return write_recipe(tmp_path)


def test_a_killed_run_goes_on_bit_for_bit(recipe: Path, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    said = forked("kill", recipe, undisturbed, killed)
    assert "killed at step-00000005" in said or "killed at step-00000006" in said
    a, b = (load_checkpoint(folder / "step-00000007.pt") for folder in (undisturbed, killed))
    a.pop("config"), b.pop("config")  # the number of workers may change
    assert {"network", "average", "optimizer", "helpers"} <= a.keys() and a["helpers"]["score"]
    assert _same(a, b)
    assert not _same(a["network"], a["average"])
    assert latest_checkpoint(killed) == killed / "step-00000007.pt"
    weights = [(folder / "star-small.safetensors").read_bytes() for folder in (undisturbed, killed)]
    assert weights[0] == weights[1]


def test_a_changed_recipe_is_told(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = ["stage.0.steps=1", "stage.1.objective=one-step", "stage.1.losses.adversarial=0", "data.workers=0"]
    first = load_recipe(recipe, [*overrides, "stage.1.steps=1"])
    Trainer(first, folder).run()
    with pytest.raises(DataError, match=r"data\.batch: 1 -> 2.*--allow-changes"):
        Trainer(load_recipe(recipe, [*overrides, "stage.1.steps=1", "data.batch=2"]), folder)
    with pytest.raises(DataError, match=r"stage\.0\.lr: 0\.001 -> 0\.5"):
        Trainer(load_recipe(recipe, [*overrides, "stage.1.steps=1", "stage.0.lr=0.5"]), folder)
    with pytest.raises(DataError, match=r"stage\.1\.steps: 1 -> 2"):  # a cosine that ends later was another cosine
        Trainer(load_recipe(recipe, [*overrides, "stage.1.steps=2"]), folder)
    changed = load_recipe(recipe, [*overrides, "stage.1.steps=1", "data.batch=2", "run.save_every=7"])
    Trainer(changed, folder, allow_changes=True)
    said = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert said["event"] == "recipe changed"
    assert sorted(said["changes"]) == ["data.batch: 1 -> 2", "run.save_every: 1 -> 7"]


def test_checkpoints_of_the_first_format_still_load(recipe: Path, tmp_path: Path) -> None:
    """Without what later versions added: helpers in the state, newer keys in the recipe."""
    words = ["stage.0.steps=1", "stage.1.steps=1", "data.workers=0", "network={}", "run.accumulate=1"]
    config = load_recipe(recipe, words)
    trainer = Trainer(config, tmp_path / "run")
    trainer.save()
    path = latest_checkpoint(tmp_path / "run")
    assert path is not None
    state = load_checkpoint(path)
    old = json.loads(state["config"])
    for section, key in (("data", "workers"), ("run", "accumulate"), ("data", "defocus_probability")):
        del old[section][key]
    del old["network"], state["helpers"]
    save_checkpoint(tmp_path / "run", 0, {**state, "config": json.dumps(old)})
    assert Trainer(config, tmp_path / "run").step == 0
    with pytest.raises(DataError, match=r"data\.defocus_probability: 0\.0 -> 0\.2"):  # newer, and set now
        Trainer(load_recipe(recipe, [*words, "data.defocus_probability=0.2"]), tmp_path / "run")


def test_a_run_of_the_last_release_goes_on_and_exports(recipe: Path, tmp_path: Path) -> None:
    """Its stages were flat and held all keys, those of other objectives at their defaults."""
    words = ["stage.0.steps=1", "stage.0.losses.frequency=0.5", "stage.0.objective=velocity", "data.workers=0"]
    config = load_recipe(recipe, [*words, "stage.1.objective=one-step", "stage.1.losses.adversarial=0"])
    run = tmp_path / "run"
    trainer = Trainer(config, run)
    trainer.save()
    state = load_checkpoint(run / "step-00000000.pt")
    old = json.loads(state["config"])
    others = {"df_alpha": 2.0, "grid_weight": 0.0, "teacher": "", "distillation_gap": 50, "velocity_every": 0}
    for stage, weight in zip(old["stage"], (0.5, 1.0), strict=True):
        for table in ("losses", "velocity", "frequency", "adversarial", "one_step"):
            stage.pop(table, None)
        stage |= {"df_weight": weight, "adversarial_weight": 0.0, **others}
    save_checkpoint(run, 0, {**state, "config": json.dumps(old)})
    assert Trainer(config, run).step == 0
    path = export(run, tmp_path / "old.safetensors")
    assert "| 0 | velocity | 1 | 0.001 | frequency 0.5 |" in path.with_suffix(".md").read_text()
    save_checkpoint(run, 1, {**state, "step": 1, "config": json.dumps(old)})
    changed = load_recipe(recipe, [*words, "stage.1.objective=one-step", "stage.0.losses.frequency=0.7"])
    with pytest.raises(DataError, match=r"stage\.0\.losses\.frequency: 0\.5 -> 0\.7"):
        Trainer(changed, run)


def test_checkpoints_are_whole_or_absent_and_rotate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputNotWritableError, match="No space left"):
        save_checkpoint(tmp_path, 4, {"step": 4}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]
    (tmp_path / "step-00000003.pt").write_bytes(b"half")
    with pytest.raises(WeightsError, match="delete it to use the one before"):
        load_checkpoint(tmp_path / "step-00000003.pt")
