"""The benchmark of one full-size call, run at small width."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.published import star_cpu


def test_it_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        star_cpu.main(
            ["--width", "64", "--context", "32", "--latent", "1", "2", "8", "--rounds", "1", "--out", str(tmp_path)]
        )
    finally:
        torch.set_num_threads(threads)
    told = json.loads((tmp_path / "star_cpu.json").read_text())
    assert told["latent"] == [4, 1, 2, 8] and len(told["cpu_seconds"]) == 1  # the first call is not counted
    assert told["weights_bytes"] == 4 * told["parameters"] < told["peak_bytes"]
    assert "CPU time of a call" in capsys.readouterr().out
