"""The table of windows says what values were made to be: no bias and no scatter of even cells, both of uneven ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.quality import vgg_windows
from benchmarks.quality.vgg_windows import Measured, as_table, measured, results
from starvsr.models.vgg16 import Vgg16


def test_bias_and_scatter() -> None:
    even = Measured(np.full(2, 3.0), np.full((2, 20), 3.0), np.full(20, 0.05))
    assert even.bias() == pytest.approx(0) and even.drawn(5).std() == pytest.approx(0, abs=1e-12)
    cells = np.linspace(1, 5, 20)[None].repeat(2, 0)
    uneven = Measured(np.full(2, 2.5), cells, np.full(20, 0.05))
    assert uneven.bias() == pytest.approx(0.2)
    alone, many = uneven.drawn(1), uneven.drawn(25)
    assert alone.mean() == pytest.approx(3, rel=0.02) and many.std() == pytest.approx(alone.std() / 5, rel=0.1)
    wanted = cells[0].std(ddof=1) * np.sqrt((1 - 3 / 20) / 3)
    assert alone.std() == pytest.approx(wanted, rel=0.05)


def test_the_table_of_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tiny = Vgg16(((2, 2), (2, 2), (2,), (2,), (2,))).requires_grad_(False)
    monkeypatch.setattr(vgg_windows, "shipped", lambda: tiny)
    clip = np.random.default_rng(0).integers(0, 256, (1, 208, 304, 3), dtype=np.uint8)
    found = {kind: measured(result, clip) for kind, result in results(clip)}
    assert list(found) == ["bicubic", "noise", "blocks"]
    assert all(one.cells.shape == (1, 12) and one.share.sum() == pytest.approx(1) for one in found.values())
    lines = as_table({"noise": found}).splitlines()
    assert len(lines) == 4 and lines[2].startswith("| noise |") and lines[3].startswith("| all |")
    assert len({line.count("|") for line in lines}) == 1
