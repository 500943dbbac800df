"""The benchmarks of STAR on CogVideoX at tiny size: they run on a CPU, count as they say, and refuse a missing GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")

from benchmarks.memory import cogvideox_memory as memory
from benchmarks.speed import cogvideox_gpu as gpu
from benchmarks.speed import cogvideox_parts as parts
from starvsr.families.star_cogvideox.plan import CogVideoXPlan
from starvsr.models.cogvideox.config import TransformerConfig


def test_the_gpu_benchmark_runs_and_writes_at_tiny_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{gpu.BEGIN}\nold\n{gpu.END}\n")
    words = ["--tiny", "--device", "cpu", "--steps", "1", "--cases", "int8, stream"]
    assert gpu.main([*words, "--write", str(page)]) == 0
    (row,) = (line for line in page.read_text().splitlines() if line.startswith("| int8, stream |"))
    assert "old" not in page.read_text() and row.count(" GB |") == 2


def test_the_gpu_benchmark_needs_a_gpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2 and "no CUDA device" in capsys.readouterr().out
    assert gpu.main(["--device", "cpu"]) == 2 and "give --tiny" in capsys.readouterr().out


def test_the_bound_is_that_of_the_published_size() -> None:
    """Against a count made on the authors' code: 14,279 TFLOP for a clip, 18.1 s at 790 TFLOP/s."""
    assert gpu.flops(gpu.FULL, 50) / 14_279e12 == pytest.approx(1, abs=0.02)


def test_a_block_is_timed_beside_that_of_diffusers(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    small = TransformerConfig(num_attention_heads=2, attention_head_dim=16, text_embed_dim=24, time_embed_dim=12)
    monkeypatch.setattr(parts.TransformerConfig, "published_5b", classmethod(lambda cls: small))
    assert parts.main(["--frames", "1", "--cells", "4x6"]) == 0
    told = capsys.readouterr().out
    assert "1 latent frames of 6x4 cells, 232 tokens" in told
    assert len([cell for cell in told.splitlines()[-1].split("|") if cell.strip().endswith("GiB")]) == 3


@pytest.mark.parametrize(
    "setting",
    [
        memory.Setting(9, 8, 12, 5, 2, CogVideoXPlan("stream", (1, 2), 2, (1, 1)), in_8_bits=True),
        memory.Setting(5, 12, 12, 25, 4, CogVideoXPlan("offload", (1, 1), 2, (2, 1)), guided=False),
        memory.Setting(13, 6, 8, 25, 1, CogVideoXPlan()),
    ],
    ids=["streamed, int8, windows, tiles", "offloaded, tiles of the VAE, x4", "resident"],
)
def test_the_predicted_peak_is_what_is_counted(setting: memory.Setting) -> None:
    """Never less than is counted, and little more in the fullest phase."""
    found = memory.measure(setting)
    assert list(found) == ["encode", "sample", "decode"]
    assert all(0.99 <= phase.ratio < 2.5 for phase in found.values()), found
    peaks = [max(getattr(phase, kind) for phase in found.values()) for kind in ("predicted", "counted")]
    assert peaks[0] / peaks[1] < 1.25, found
    other = memory.measure(replace(setting, frames=1))
    assert other["sample"].counted < found["sample"].counted
