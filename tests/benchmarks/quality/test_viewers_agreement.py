"""Agreement with viewers, on a table whose answers can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.quality.viewers_agreement import agreement, agreements, main, read, spearman

ROWS = [
    # source, method, mos, good, bad, half, lpips-alex, name
    ("a", "x", 4.0, 9, 1, 5, 0.1, "text"),
    ("a", "y", 3.0, 8, 2, 5, 0.2, "text"),
    ("a", "z", 2.8, 1, 9, 5, 0.3, "text"),  # as good as y to viewers
    ("b", "x", 1.0, 3, 3, 5, 0.9, "text"),
    ("b", "y", 2.0, 4, 2, 5, 0.5, "text"),
    ("b", "source", 5.0, 0, 9, 0, 0.0, "text"),
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "scores.csv"
    heads = "source,codec,resolution,qp,method,mos,ci,good,bad,half,lpips-alex,name"
    lines = [f"{r[0]},av1,360p,q1,{r[1]},{r[2]},0.2,{','.join(map(str, r[3:]))}" for r in ROWS]
    path.write_text("\n".join([heads, *lines]) + "\n")
    return path


def test_shares_are_those_counted_by_hand(table):
    rows = read(table)
    assert len(rows) == 5  # the source itself is no method
    found = {one.metric: one for one in agreements(rows)}
    assert set(found) == {"good", "bad", "half", "lpips-alex"}
    assert {name: one.share for name, one in found.items()} == {"good": 1, "bad": 0, "half": 0.5, "lpips-alex": 1}
    assert {one.num_pairs for one in found.values()} == {3}  # x y, x z and y x; y and z are equal to viewers
    assert agreement(rows, "bad", least=0.1).share == 0 and agreement(rows, "bad", least=0.1).num_pairs == 4
    assert agreement(rows, "good", pair=("z", "x")).chosen == 1
    assert found["good"].low == found["good"].high == 1


def test_the_rank_correlation_is_spearmans(table):
    rows = read(table)
    mos = [float(row["mos"]) for row in rows]
    assert agreement(rows, "good").correlation == pytest.approx(spearmanr(mos, [9, 8, 1, 3, 4]).statistic)
    assert agreement(rows, "lpips-alex").correlation == pytest.approx(
        -spearmanr(mos, [0.1, 0.2, 0.3, 0.9, 0.5]).statistic
    )
    tied = np.array([1.0, 1, 2, 3, 3]), np.array([2.0, 1, 1, 5, 4])
    assert spearman(*tied) == pytest.approx(spearmanr(*tied).statistic)


def test_the_command_prints_and_writes_the_table(table, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- viewers:begin -->\nold\n<!-- viewers:end -->\nafter\n")
    assert main([str(table), "--pair", "x", "y", "--only", "good", "--write", str(page)]) == 0
    assert "3 pairs of 5 clips" in capsys.readouterr().out
    text = page.read_text()
    assert "| good | 100 % | 100 to 100 % | " in text and "old" not in text and "| bad " not in text
    assert text.startswith("before") and text.endswith("after\n")


def test_a_table_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("clip,method\na,b\n")
    with pytest.raises(SystemExit, match="has no column 'source'"):
        read(path)
