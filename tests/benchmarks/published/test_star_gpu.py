"""The benchmark for GPUs, at tiny size on a CPU, without what a bare machine lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.published import star_gpu
from benchmarks.published.star_flops import StarFlops
from benchmarks.published.star_gpu_bench import FULL

_SCRIPT = """
import sys
for absent in ("av", "diffusers", "transformers", "huggingface_hub", "torchsde", "accelerate"):
    sys.modules[absent] = None
import torch
torch.set_num_threads(1)
from benchmarks.published.star_gpu import main
main(sys.argv[1:])
"""


def test_it_measures_every_kind_of_plan_and_writes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{star_gpu.BEGIN}\nold\n{star_gpu.END}\nafter\n")
    cases = ["toy-resident", "toy-stream", "toy-int8"]
    subprocess.run(
        [sys.executable, "-c", _SCRIPT, "--tiny", "--device", "cpu", "--steps", "1", "--settings", "1", "--out",
         str(tmp_path), "--write", str(page), "--cases", *cases],
        check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    told = json.loads((tmp_path / "star_gpu.json").read_text())
    assert list(told["cases"]) == cases and len(told["settings"]) == 1
    for case in told["cases"].values():
        assert case["seconds"] > 0 and case["allocated"] > 0 and case["pflop"] > 0 and not case["ran_out"]
        assert 0.8 < case["ratio"] < 2.5  # the clip's own share, an upper estimate, is large beside networks this small
    assert told["cases"]["toy-int8"]["allocated"] < told["cases"]["toy-resident"]["allocated"]
    text = page.read_text()
    assert "old" not in text and "| toy-stream |" in text and text.startswith("before") and text.endswith("after\n")


def test_the_sums_are_those_of_the_published_network() -> None:
    """Against counts made on the authors' code; the decoder here computes its first temporal convolutions twice."""
    flops = StarFlops(FULL.unet, FULL.vae)
    assert abs(flops.call(1, 90, 160) / 8.05e12 - 1) < 0.01
    assert 1 < flops.decode(3, 90, 160) / 33.0e12 < 1.13
