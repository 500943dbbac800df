"""The rate of the data workers, measured on a made clip and written between marks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.speed import data_rate


def test_rates_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{data_rate.BEGIN}\nold\n{data_rate.END}\nafter\n")
    words = ["--preset", "light", "--clips", "2", "--clip-frames", "2", "--gt-size", "64", "--workers", "0"]
    data_rate.main([*words, "--write", str(page)])
    text = page.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    (rate,) = re.findall(r"^\| 0 \| ([0-9.]+) \| [0-9.]+ \|", text, re.MULTILINE)
    assert float(rate) > 0 and f"| 0 | {rate} |" in capsys.readouterr().out


def test_rates_by_the_clock_and_by_the_core() -> None:
    slow, fast = (data_rate.Rate(workers, 12, seconds, 4.0, 0.0) for workers, seconds in ((1, 6.0), (2, 3.0)))
    text = data_rate.table([slow, fast], "mixed", 12, 320)
    assert "| 1 | 2.00 | 3.00 |" in text and "| 2 | 4.00 | 3.00 |" in text


def test_a_run_too_short_for_the_processor_clock_has_no_rate_by_it() -> None:
    text = data_rate.table([data_rate.Rate(1, 2, 0.5, 0.0, 0.0)], "mixed", 12, 320)
    assert "| 1 | 4.00 | too short to tell |" in text
