"""The table of the layers of the VGG distance: all of them, and their sum."""

from __future__ import annotations

import pytest
import torch

from benchmarks.speed.vgg_layers import table


def test_all_layers_are_listed_and_summed() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(32, 16, torch.float32, 1)[2:]]
    assert [row[0] for row in rows[:2]] == ["3 to 64", "64 to 64"] and rows[-2][:2] == ["512 to 512", "2x1"]
    assert len(rows) == 14 and float(rows[-1][3]) == pytest.approx(sum(float(row[3]) for row in rows[:-1]), abs=0.1)
