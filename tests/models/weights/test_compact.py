"""Weights in 8 bits: near what they were, in half the size, told when they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from starvsr.errors import WeightsError
from starvsr.models.weights import compact, read_tensors, save_weights
from starvsr.models.weights.compact import SCALES

TENSORS = {
    "b.weight": torch.randn(64, 48, 3, 3, generator=torch.Generator().manual_seed(0)) * 1e-4,
    "a.weight": torch.randn(96, 64, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 2, 96)[:, None],
    "gate.weight": torch.tensor([[1.5, -0.25]]),
    "a.bias": torch.linspace(-1, 1, 96),
    "zero.weight": torch.cat([torch.zeros(8, 64), torch.ones(8, 64)]),
}


def write(path: Path, stored: dict[str, torch.Tensor]) -> Path:
    save_weights(stored, path, dtype=None, metadata={"format": "pt"})
    return path


def test_every_value_is_within_half_a_step_of_its_channel(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", compact(TENSORS))
    found = read_tensors(path)
    assert found.keys() == TENSORS.keys()
    for name in ("a.weight", "b.weight", "zero.weight"):
        rows, wanted = found[name].flatten(1), TENSORS[name].flatten(1)
        step = wanted.abs().amax(1, keepdim=True) / 127 * 1.008  # bfloat16 has 8 bits
        assert found[name].dtype == torch.float32 and ((rows - wanted).abs() <= step / 2 + 1e-12).all()
    for name in ("gate.weight", "a.bias"):
        torch.testing.assert_close(found[name].float(), TENSORS[name], atol=0, rtol=2**-11)
    half = tmp_path / "half.safetensors"
    save_weights(TENSORS, half, dtype=torch.float16, metadata={"format": "pt"})
    assert path.stat().st_size < 0.56 * half.stat().st_size


def test_storing_again_changes_nothing(tmp_path: Path) -> None:
    once = read_tensors(write(tmp_path / "w.safetensors", compact(TENSORS)))
    twice = read_tensors(write(tmp_path / "v.safetensors", compact(once)))
    assert all(torch.allclose(once[name].float(), twice[name].float(), rtol=0.01, atol=1e-9) for name in once)


def test_codes_without_their_scales_are_refused(tmp_path: Path) -> None:
    stored = compact(TENSORS)
    for changed in ({**stored, SCALES: stored[SCALES][1:]}, {k: v for k, v in stored.items() if k != "a.weight"}):
        save_file(changed, path := tmp_path / "w.safetensors")
        with pytest.raises(WeightsError, match="channels in 8 bits"):
            read_tensors(path)


def test_other_files_are_read_as_they_are(tmp_path: Path) -> None:
    save_file({"codes": torch.arange(6, dtype=torch.int8).view(2, 3)}, path := tmp_path / "w.safetensors")
    assert read_tensors(path)["codes"].dtype == torch.int8
