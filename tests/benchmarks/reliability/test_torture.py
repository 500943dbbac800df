"""Jobs are hurt in a process of their own, which forks them: see benchmarks/torture*.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability.torture import BEGIN, END, Row, as_table, write_table

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and signals of POSIX")


def _torture(tmp_path: Path, *words: str) -> dict[str, dict[str, Any]]:
    told = tmp_path / "rows.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.reliability.torture",
        "--json",
        str(told),
        "--folder",
        str(tmp_path),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows: dict[str, dict[str, Any]] = {row["fault"]: row for row in json.loads(told.read_text())}
    for row in rows.values():
        assert (row["equal"], row["lost_frames"], row["problems"]) == (True, 0, []), row
        assert row["most_redone"] <= 1, row
    return rows


@pytest.mark.timeout(1200)  # a machine that is busy otherwise may take minutes
def test_twenty_kills_and_some_other_faults(tmp_path: Path) -> None:
    words = ("--kills", "10", "--points", "10", "--only", "kill", "points", "join", "nospace", "spoil", "two")
    rows = _torture(tmp_path, *words)
    assert rows["SIGKILL at random moments"]["tried"] == 10
    assert rows["SIGKILL before and after single file operations"]["tried"] == 10
    assert rows["SIGKILL while parts are joined"]["tried"] >= 3
    assert rows["spoiled journal, plan or part"]["tried"] >= 4


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_all_faults(tmp_path: Path) -> None:
    rows = _torture(tmp_path, "--seconds", "6000")
    assert len(rows) >= 24
    assert rows["SIGKILL at random moments"]["tried"] >= 200


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    table = as_table([Row("fire", 3), Row("flood", 2, lost_frames=1, equal=False)])
    write_table(page, table)
    write_table(page, table)
    assert page.read_text() == f"before\n{BEGIN}\n{table}\n{END}\nafter\n"
    assert "| fire | 3 | 0 | 0 | yes |" in table and "| flood | 2 | 1 | 0 | NO |" in table
