"""Each guard lets a faithful result pass and finds the fault that it is there for."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.quality import guard_charts
from benchmarks.quality.guard_charts import ByteArray
from benchmarks.quality.guards import Finding, examine, main, measures
from benchmarks.quality.methods import bicubic
from starvsr.errors import OptionError
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.weight_ends import join_ends
from starvsr.models.weights import save_weights
from tests.docs.pages import blocks_run_by

WIDTH, HEIGHT = guard_charts.LEAST_SIZE


def _failed(spoil: Callable[[ByteArray], ByteArray]) -> set[str]:
    findings = list(examine("spoilt", lambda clip, _: spoil(bicubic(clip)), [], WIDTH, HEIGHT))
    return {one.guard for one in findings if not one.passes}


def _bytes(clip: np.ndarray) -> ByteArray:
    return np.rint(np.clip(clip, 0, 255)).astype(np.uint8)


def _sharpened(clip: ByteArray) -> ByteArray:
    frames = torch.tensor(clip).permute(0, 3, 1, 2).float()
    soft = F.avg_pool2d(frames, 9, 1, 4, count_include_pad=False)
    return _bytes((frames + 1.5 * (frames - soft)).permute(0, 2, 3, 1).numpy())


def _with_ghosts(clip: ByteArray) -> ByteArray:
    moved = np.roll(clip.astype(float), 12, 2)
    return _bytes(clip + 0.05 * (moved - np.roll(moved, 3, 2)))


def _woven(clip: ByteArray) -> ByteArray:
    pattern = 2.0 * np.cos(np.arange(clip.shape[2]) * np.pi / 2)
    return _bytes(clip + pattern[:, None])


def _tinted(clip: ByteArray) -> ByteArray:
    return _bytes(clip + np.array([1, 0, 0]))


def _flickering(clip: ByteArray) -> ByteArray:
    made = clip.astype(float)
    made[-1] += 1  # the last frame alone
    return _bytes(made)


def test_a_faithful_result_passes_all() -> None:
    assert _failed(lambda clip: clip) == set()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_sharpened, {"defocus: error", "text: halo", "drawn: halo"}),
        (_with_ghosts, {"edges: ghost"}),
        (_woven, {"grain: weave", "defocus: error"}),
        (_tinted, {"gray: tint"}),
        (_flickering, {"still: flicker"}),
    ],
)
def test_a_fault_is_found(spoil: Callable[[ByteArray], ByteArray], found: set[str]) -> None:
    assert found <= _failed(spoil)


def test_the_truth_has_neither_error_nor_halo_nor_ghosts() -> None:
    for draw in (guard_charts.drawn, guard_charts.text, guard_charts.defocused, guard_charts.edges):
        chart = draw(WIDTH, HEIGHT)
        assert max(measures(chart, chart.truth).values()) <= 0
        assert chart.lq.shape == (HEIGHT // 4, WIDTH // 4, 3) and chart.truth.std() > 20


def test_what_is_no_number_does_not_pass() -> None:
    assert not Finding("m", "g", None, float("nan"), 1.0).passes


def test_settings_are_compared_with_the_faithful_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"width": 8, "num_blocks": 2, "memory": 1, "up_width": 4, "thin_width": 4}
    torch.manual_seed(0)
    network = CausalSR(CausalSRConfig(**sizes))  # type: ignore[arg-type]
    faithful = {name: value.clone() for name, value in network.state_dict().items()}
    faithful["last.weight"].zero_()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    file = tmp_path / "ends.safetensors"
    ends = join_ends(faithful, network.state_dict())
    save_weights(ends, file, dtype=torch.float32, metadata={"network": json.dumps(sizes)})
    blocks = blocks_run_by("tests/benchmarks/quality/test_guards.py::test_settings_are_compared_with_the_faithful_end")
    lines = {re.sub(r"\S+\.safetensors", str(file), line) for block in blocks for line in block.commands}
    (words,) = [shlex.split(line) for line in lines]  # the same but for the file
    assert words[:3] == ["python", "-m", "benchmarks.quality.guards"]
    fewer = ["--details", "0", "1", "--size", "288x216"]
    assert main([*words[3:], *fewer, "--out", str(tmp_path / "found.json")]) == 1
    told = json.loads((tmp_path / "found.json").read_text())["findings"]
    faithful, vivid = ({one["guard"]: one["passes"] for one in told if one["detail"] == end} for end in (0, 1))
    assert faithful["drawn: error"] and faithful["edges: ghost"]  # its last layer is zero: it is bicubic
    assert not vivid["drawn: error"] and vivid["still: flicker"] and vivid["gray: tint"]
    assert "guards are kept" in capsys.readouterr().out


def test_star_small_is_examined_at_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--methods", "star-small", "--details", "0", "0.5", "--size", "288x216"])
    out = capsys.readouterr().out
    assert out.count("| star-small | drawn: error | 0.5 |") == 1 and "| 0.5 |" in out


def test_what_is_missing_is_told() -> None:
    with pytest.raises(OptionError, match="causal-sr needs --weights"):
        main(["--methods", "causal-sr"])
    with pytest.raises(OptionError, match="unknown method 'x'"):
        main(["--methods", "x"])
    with pytest.raises(OptionError, match="288x216 px at least, not 160x96"):
        main(["--methods", "bicubic", "--size", "160x96"])
