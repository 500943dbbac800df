"""Counts of the checks for shifts, over a folder as `starvsr benchmark` leaves it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.shift_checks import table
from tests.evaluation.made_clips import blurred, film, moving


def test_results_are_counted_in_their_place_and_moved(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        gt = moving(3, 96, 128, seed=seed)
        film(tmp_path / "gt" / f"{name}.mkv", gt)
        film(tmp_path / "results" / "bicubic" / f"{name}.mkv", blurred(gt))
    assert table(tmp_path, ["bicubic"], [0, 2])[2:] == [
        "| bicubic | 0 px | 0 | 0 | 2 |",
        "| bicubic | 2 px | 2 | 0 | 0 |",
    ]
