"""Two processes that train together: the same weights in both, every clip used once, split weights the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from starvsr.errors import OptionError
from starvsr.families import registry
from starvsr.training.checkpoints import load_checkpoint
from starvsr.training.loop import Trainer
from starvsr.training.recipe import load_recipe
from tests.training.tiny import TINY, forked, write_recipe

SHORT = ("stage.0.steps=2", "stage.1.steps=1", "stage.1.objective=one-step", "stage.1.losses.adversarial=0.0")
ADAM = ("run.optimizer=adamw", "data.workers=0", "network={}", *SHORT)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    return write_recipe(tmp_path)


def test_two_processes_train_one_network_split_or_not(recipe: Path, tmp_path: Path) -> None:
    copies, split = tmp_path / "copies", tmp_path / "split"
    forked("pair", recipe, copies, *ADAM)
    forked("pair", recipe, split, *ADAM, "run.parallel=fsdp")
    a, b = (load_checkpoint(folder / "step-00000003.pt") for folder in (copies, split))
    for part in ("network", "average"):
        assert a[part].keys() == b[part].keys()
        for name, value in a[part].items():
            torch.testing.assert_close(
                b[part][name], value, atol=2e-5, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
            )
    alone = Trainer(load_recipe(recipe, ADAM), tmp_path / "alone")
    alone.run()
    assert any(not torch.equal(a["network"][n], v) for n, v in alone.network.state_dict().items())
    lines = [json.loads(line) for line in (copies / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "lr" in line] == [1, 2, 3]  # one process writes
    assert all(line["samples_per_s"] > 0 and line["memory_gb"] > 0 for line in lines if "lr" in line)


def test_muon_cannot_be_split(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="adamw"):
        Trainer(load_recipe(recipe, ["run.parallel=fsdp"]), tmp_path / "run")
