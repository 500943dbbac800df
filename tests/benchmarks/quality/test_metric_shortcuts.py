"""Deviations of fast forms of metrics: counted by hand, and nothing where both are the same."""

from __future__ import annotations

import math

import pytest

from benchmarks.quality import metric_shortcuts
from benchmarks.quality.metric_ladder import DAMAGES
from benchmarks.quality.metric_shortcuts import Deviation, as_table, compare, results
from tests.metrics.synthetic_clips import reference


def test_deviations_and_order_are_those_counted_by_hand():
    found = Deviation(
        {
            "one": [("bicubic", 2.0, 2.1), ("blur", 1.0, 0.98), ("blur", 1.5, 0.9)],
            "two": [("bicubic", 4.0, 4.0), ("blur", 0.0, 0.1)],
        }
    )
    assert found.relative("bicubic") == pytest.approx([0.05, 0.0])
    assert found.relative("blur") == pytest.approx([0.02, 0.4])
    assert found.same_order() == pytest.approx(3 / 4)  # of "one" 1.0 and 1.5 change places
    assert math.isnan(Deviation().same_order())
    assert "| two | 2.50 %, at most 5.00 % | 21.00 %, at most 40.00 % | - |" in as_table({"two": found})


def test_a_metric_does_not_deviate_from_itself(monkeypatch):
    same = {
        "same": (("psnr_y_db", "dis"), ("psnr_y_db", "dis")),
        "flow": (("warping_error_x1e3", "dis"), ("warping_error_x1e3", "dis-fast")),
    }
    monkeypatch.setattr(metric_shortcuts, "SHORTCUTS", same)
    clip = reference(2, 96, 128)
    found = compare({"pan": clip}, list(same), report=lambda line: None)
    kinds = [kind for kind, _ in results(clip)]
    assert kinds == ["bicubic", *(name for name in DAMAGES for _ in range(3))]
    assert all(found["same"].relative(kind) == [0.0] * kinds.count(kind) for kind in set(kinds))
    assert found["same"].same_order() == 1 and max(found["flow"].relative("noise")) > 0
