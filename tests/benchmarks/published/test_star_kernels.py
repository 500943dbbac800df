"""The comparison of kernels: all ways agree, and the table says which one is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.published import star_kernels


def test_all_ways_agree_and_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- star-kernels:begin -->\n<!-- star-kernels:end -->\n")
    threads = torch.get_num_threads()
    words = ["--latent", "3", "6", "8", "--channels", "64", "--width", "32", "--rounds", "1", "--out", str(tmp_path)]
    try:
        star_kernels.main([*words, "--write", str(page)])
    finally:
        torch.set_num_threads(threads)
    told = json.loads((tmp_path / "star_kernels.json").read_text())
    assert len(told) == 5 and all(len(ways) > 1 for ways in told.values())
    assert {"--attention auto", "--attention flash", "--attention math"} <= set(told["self-attention of a frame"])
    assert "| temporal convolution (3,1,1) | 2-D over time and merged pixels | 3-D " in page.read_text()
    assert "latent 3x6x8" in capsys.readouterr().out


def test_ways_that_disagree_are_refused() -> None:
    with pytest.raises(SystemExit, match="other differs"):
        star_kernels.compare({"one": lambda: torch.ones(3), "other": lambda: torch.tensor([1.0, 1.0, 0.9])}, 1)


def test_ratios_are_to_what_is_taken() -> None:
    options = star_kernels._parser().parse_args([])
    text = star_kernels.table({"layer": {"ours": 2.0, "slow": 3.0, "quick": 1.0}}, options)
    assert "| layer | ours | slow 1.50; quick 0.50 |" in text
