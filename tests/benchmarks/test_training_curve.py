from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import training_curve


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [{"step": 0, "event": "start"}]
    lines += [{"step": step, "lr": 0.1, "pixel": 1 - step / 1000} for step in range(20, 1001, 20)]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path / "log.jsonl"


def test_a_falling_loss_is_a_line_from_the_top_left_to_the_bottom_right(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.png"
    assert training_curve.main([str(log), "--value", "pixel", "-o", str(out), "--mean", "5", "--title", "loss"]) == 0
    pixels = np.asarray(Image.open(out).convert("RGB")).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - training_curve.LINE).sum(2) < 12)
    assert len(rows) > 300 and np.corrcoef(rows, columns)[0, 1] > 0.99
    assert out.stat().st_size < 30_000


def test_the_mean_is_over_so_many_values(log: Path) -> None:
    points = training_curve.read_log(log, "pixel")
    mean = training_curve.running_mean(points, 3)
    assert len(mean) == len(points) - 2 and mean[0] == (40.0, pytest.approx(0.96))
    assert len(training_curve.running_mean(points[:2], 25)) == 1


def test_a_value_that_is_not_there_is_named(log: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no curve of 'loss': it has lr, pixel"):
        training_curve.main([str(log), "--value", "loss", "-o", str(tmp_path / "x.png")])
    with pytest.raises(SystemExit, match="cannot read"):
        training_curve.main([str(tmp_path / "none"), "--value", "loss", "-o", str(tmp_path / "x.png")])


@pytest.mark.parametrize(("low", "high"), [(0.0, 5000.0), (0.12, 0.17), (0.0, 1.0), (3.0, 1999.0)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = training_curve.ticks(low, high)
    assert 3 <= len(found) <= 8 and low <= found[0] and found[-1] <= high * (1 + 1e-9)
