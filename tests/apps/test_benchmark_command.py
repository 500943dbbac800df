"""`starvsr benchmark`: the table on standard output, tables and report in the folder, clear words about bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from starvsr.apps.cli import main
from tests.apps.commands import leftovers
from tests.evaluation.benchmarks.made_sets import pairs

QUICK = ("--models", "lanczos,plain=bicubic", "--metrics", "psnr_y_db", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairs(tmp_path_factory.mktemp("set"), ("one", "two"))


def test_the_table_is_printed_and_kept_with_a_report(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    words = ["benchmark", "vid4", "--data", str(data), "--allow-partial", "--lq", "LQ", "-o", str(out), *QUICK]
    assert main([*words, "--published", "all"]) == 0
    said = capsys.readouterr()
    assert "| Vid4 (2 clips)" in said.out and "lanczos" in said.out and "plain" in said.out
    assert "DGAF-VSR [1]" in said.out and "as published, not measured here" in said.out
    assert "enlarging one by lanczos (1 of 2)" in said.err
    assert leftovers(out) == [
        ".lock", "frozen.json", "report", "results", "scores", "table.csv", "table.json", "table.md", "table.tex",
    ]  # fmt: skip
    assert said.out.startswith((out / "table.md").read_text())
    protocol = json.loads((out / "report/report.json").read_text())["protocol"]
    assert protocol["benchmark"]["set"] == "vid4" and "benchmark_key" not in protocol
    assert main([*words, "--published", "none", "-q", "--no-report"]) == 0
    said = capsys.readouterr()
    assert not said.err and "DGAF" not in said.out


def test_the_sets_are_listed(capsys) -> None:
    assert main(["benchmark", "--list"]) == 0
    said = capsys.readouterr().out
    assert "udm10" in said and "BDx4/" in said and "custom" in said


def test_bad_words_are_refused_before_any_work(data: Path, tmp_path: Path, one_line) -> None:
    out = ("-o", tmp_path / "out")
    for words, code, what in (
        (("udm1", "--data", data, *QUICK), 1, "unknown benchmark 'udm1': did you mean udm10"),
        (("udm10", "--data", data, *QUICK), 1, "UDM10 has 10 clips, 2 are there (one, two)"),
        (("udm10", "--data", tmp_path / "gone", *QUICK), 1, "there is no such file or folder"),
        (("custom", "--data", data, "--models", "nothing"), 1, "unknown model 'nothing'"),
        (("custom", "--data", data, "--models", "bicubic", "--metrics", "psnr"), 1, "unknown metric 'psnr'"),
        (("custom", "--data", data, "--max-size", "640", *QUICK), 2, "must read WIDTHxHEIGHT"),
        (("custom", "--data", data, "--published", "me", *QUICK), 1, "--published: unknown me"),
    ):
        found, said = one_line("benchmark", *words, *out)
        assert found == code and what in said
    assert leftovers(tmp_path) == []
