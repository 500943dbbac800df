"""The fuzz bench: a short run, what it judges, and every input that was found to do harm."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reliability import fuzz, fuzz_inputs
from benchmarks.reliability.fuzz import Row, as_table, merge

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="watches memory as Linux does")


@pytest.mark.timeout(600)
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    tally = tmp_path / "tally.json"
    page = tmp_path / "page.md"
    page.write_text(f"before\n{fuzz.BEGIN}\n{fuzz.END}\nafter\n")
    words = ("--count", "40", "--first", "100", "--seed", "4", "--tally", str(tally), "--write", str(page))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability.fuzz", *words, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    rows = json.loads(tally.read_text()).values()
    assert sum(row["tried"] for row in rows) == 40 == sum(row["refused"] + row["completed"] for row in rows)
    assert "| **all** | 40 |" in page.read_text() and page.read_text().endswith(f"{fuzz.END}\nafter\n")


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    seeds = {"a.bin": bytes(range(256)) * 8, "b.png": fuzz_inputs.png(9, 9)}
    one, other = ([fuzz_inputs.hurt(seeds, random.Random(f"7/{n}")) for n in range(200)] for _ in range(2))
    assert one == other
    assert len({data for _, _, data in one}) > 150
    assert {kind for kind, _, _ in one} == set(fuzz_inputs._DAMAGES)


# ---- the judge


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the judge says of each deed of fuzz_deeds.py, in a process of its own, since it forks."""
    command = [sys.executable, "-m", "tests.benchmarks.fuzz_deeds", str(tmp_path_factory.mktemp("deeds"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("crash", "died by SIGSEGV"),
        ("hang", "no end after"),
        ("swell", "took "),
        ("outside", "stranger"),
        ("half", "left out.mp4 after a failure"),
        ("loud", "control characters"),
        ("raising", "RuntimeError came out"),
        ("shell", "subprocess.Popen"),
    ],
)
def test_harm_is_seen(judged: dict[str, list[str]], deed: str, said: str) -> None:
    assert any(said in finding for finding in judged[deed]), judged[deed]


def test_the_harmless_is_no_finding(judged: dict[str, list[str]]) -> None:
    assert judged["harmless"] == []


def test_runs_add_up() -> None:
    rows = merge({"a": Row("a", 3, 1, 2)}, {"a": Row("a", 2, 2, 0, ["x"]), "b": Row("b", 1, 0, 1)})
    assert "| a | 5 | 3 | 2 | 1 |" in as_table(rows)
    assert "| **all** | 6 | 3 | 3 | 1 |" in as_table(rows)
