from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from benchmarks.reliability import exactness
from tests.video.exactness.properties import Property


def small(case: int, folder: Path) -> None:
    assert folder.is_dir()
    assert case < 10


def test_tallies_add_up_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Property("small numbers", st.integers(0, 9), small, few=1, many=10),
        Property("numbers", st.integers(5, 14), small, few=1, many=10),
    ]
    monkeypatch.setattr(exactness, "load_properties", lambda: entries)
    page, tally = tmp_path / "page.md", tmp_path / "tally.json"
    page.write_text(f"above\n{exactness.BEGIN}\nold\n{exactness.END}\nbelow\n")
    words = ["--examples", "60", "--tally", str(tally), "--write", str(page)]
    assert exactness.main(words) == 1
    assert exactness.main([*words, "--only", "small", "--seed", "2"]) == 0
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("above", "below")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    counts = {title: (int(tried), int(held)) for title, tried, held in rows[1:]}
    assert counts["small numbers"] == (20, 20)  # there are no more than ten, tried once a call
    assert counts["numbers"] == (10, 5)
    assert counts["together"] == (30, 25)


def test_a_property_that_does_not_hold_fails_its_test_at_the_simplest_input() -> None:
    entry = Property("numbers", st.integers(0, 1000), small, few=1, many=10)
    with pytest.raises(AssertionError) as caught:
        entry.run(100)
    assert "case=10" in "".join(caught.value.__notes__)


def test_every_theme_is_found() -> None:
    titles = [entry.title for entry in exactness.load_properties()]
    assert len(titles) >= 10
