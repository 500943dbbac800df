"""Checkpoints of training frameworks: their tensors are read, and nothing that lies beside them is run."""

from __future__ import annotations

import argparse
import datetime
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from starvsr.errors import WeightsError
from starvsr.models.weights.training_states import read_states, tensors_under


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def written(path: Path, **content: Any) -> Path:
    torch.save(content, path)
    return path


def test_states_of_all_kinds_are_passed_over(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 2))
    path = written(
        tmp_path / "states.pt",
        module={"weight": weight, "half": torch.ones(2, dtype=torch.bfloat16), "_extra_state": b"x"},
        random=random.getstate(),
        numpy=np.random.get_state(),
        generator=np.random.default_rng(0).bit_generator.state,
        scalar=np.float64(3),
        torch=torch.get_rng_state(),
        args=argparse.Namespace(lr=0.1, when=datetime.timedelta(1), where=Path("x"), of={1, 2}),
        dtype=torch.bfloat16,
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR,
    )
    found = tensors_under(path, "module")
    assert list(found) == ["weight", "half"]
    assert torch.equal(found["weight"], weight) and not found["weight"].requires_grad
    assert found["half"].dtype == torch.bfloat16


def test_what_the_file_calls_is_not_called(tmp_path: Path) -> None:
    """A name of numpy is one that states may have; its call would write a file."""
    victim = tmp_path / "written.npy"
    path = written(tmp_path / "states.pt", module={"a": torch.ones(1)}, state=Calls(np.save, str(victim), [1]))
    states = read_states(path)
    assert not victim.exists()
    assert torch.equal(states["module"]["a"], torch.ones(1))
    pickle.loads(pickle.dumps(Calls(np.save, str(victim), [1])))
    assert victim.exists()  # by the usual reader it is


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (exec, "exec")],
)
def test_names_that_no_training_keeps_are_refused(tmp_path: Path, function: Any, name: str) -> None:
    victim = tmp_path / "victim"
    path = written(tmp_path / "states.pt", module={"a": torch.ones(1)}, state=Calls(function, f"touch {victim}"))
    with pytest.raises(WeightsError, match=rf"is refused: .*{name}.*nothing of it was run"):
        tensors_under(path, "module")
    assert not victim.exists()


def test_damaged_and_other_files_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "states.pt", module={"a": torch.ones(1000)}, numpy=np.random.get_state())
    content = path.read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.pt").write_bytes(b"hello")
    torch.save({"module": {"a": torch.ones(1)}}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save([1], tmp_path / "list.pt")
    with pytest.warns(DeprecationWarning):
        torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "script.pt"))
    for name, words in (
        ("cut.pt", "damaged or cut off"),
        ("text.pt", "damaged or cut off"),
        ("old.pt", "no checkpoint in the zip format"),
        ("list.pt", "holds no dictionary"),
        ("script.pt", "is refused|no checkpoint in the zip format"),
        ("none.pt", "no weights at"),
    ):
        with pytest.raises(WeightsError, match=words):
            read_states(tmp_path / name)


def test_a_file_without_weights_says_what_it_has(tmp_path: Path) -> None:
    path = written(tmp_path / "states.pt", optimizer={}, module={})
    with pytest.raises(WeightsError, match=r"has no state_dict \(it has optimizer, module\)"):
        tensors_under(path, "state_dict")
    with pytest.raises(WeightsError, match="has no tensors in module"):
        tensors_under(path, "module")


def test_tensors_are_mapped_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "states.pt", module={"a": torch.zeros(1000), "b": torch.zeros(3)}, n=np.float32(1))
    found = tensors_under(path, "module")
    assert found["a"].untyped_storage().data_ptr() != 0
    address = found["a"].data_ptr()
    maps = Path("/proc/self/maps")
    if maps.exists():
        ranges = [line.split() for line in maps.read_text().splitlines() if line.endswith(str(path))]
        spans = [tuple(int(end, 16) for end in fields[0].split("-")) for fields in ranges]
        assert any(low <= address < high for low, high in spans)
