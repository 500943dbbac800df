"""Flags of scoring reach what scores, from each command that has them."""

from __future__ import annotations

import pytest

from starvsr.errors import OptionError


@pytest.mark.parametrize("command", ["evaluate", "benchmark"])
def test_the_draws_of_dover_are_passed_on(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path, one_line) -> None:
    def refuse(names: object, *, dover_draws: int, **others: object) -> None:
        raise OptionError(f"asked for {dover_draws} draws")

    (tmp_path / "GT" / "a").mkdir(parents=True)
    (tmp_path / "GT" / "a" / "00000.png").touch()
    words = {
        "evaluate": ("evaluate", tmp_path / "GT", "--reference", tmp_path / "GT"),
        "benchmark": ("benchmark", "custom", "--data", tmp_path, "--models", "bicubic", "-o", tmp_path / "out"),
    }[command]
    for module in ("run", "benchmarks.run"):
        monkeypatch.setattr(f"starvsr.evaluation.{module}.choose_for", refuse)
    assert "asked for 7 draws" in one_line(*words, "--dover-draws", "7")[1]
    assert one_line(*words, "--dover-draws", "0")[0] == 2
