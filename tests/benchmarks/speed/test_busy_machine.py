"""The benchmark beside busy loops counts the command alone, and judges by the least of each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.speed import busy_machine

WORK = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"


def test_the_processor_time_of_the_loops_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_machine, "STARVSR", (sys.executable, "-c", WORK))
    for loops in (0, 2):
        seconds, spent = busy_machine.measure(Path("clip.mp4"), [], None, loops)
        assert seconds > 0
        assert 0.2 <= spent < 0.2 + seconds  # the loops would add about their own time

    monkeypatch.setattr(busy_machine, "STARVSR", (sys.executable, "-c", "pass"))
    assert busy_machine.measure(Path("clip.mp4"), [], None, 1)[1] < 0.2  # what ended before is not counted again


@pytest.mark.parametrize(("beside", "code"), [((4.0, 1.1), 0), ((4.5, 1.1), 1), ((4.0, 1.3), 1)])
def test_the_least_of_the_rounds_is_judged(
    beside: tuple[float, float], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = iter([(9.0, 9.0), (2.0, 1.0)])

    def measured(_clip: Path, options: list[str], _source: Path | None, loops: int) -> tuple[float, float]:
        assert options == ["--threads", "2"]
        return beside if loops else next(alone)

    monkeypatch.setattr(busy_machine, "measure", measured)
    assert busy_machine.main(["clip.mp4", "--rounds", "2", "--", "--threads", "2"]) == code
    assert f"| {beside[0] / 2:.2f}, {beside[1]:.2f} |" in capsys.readouterr().out


def test_alone_leaves_the_loops_out_and_shows_least_and_median(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = {None: iter([(2.0, 3.0), (4.0, 5.0), (9.0, 5.0)]), tmp_path: iter([(3.0, 4.0), (3.0, 4.0), (5.0, 4.0)])}

    def measured(_clip: Path, _options: list[str], source: Path | None, loops: int) -> tuple[float, float]:
        assert loops == 0
        return next(runs[source])

    monkeypatch.setattr(busy_machine, "measure", measured)
    assert busy_machine.main(["clip.mp4", "--rounds", "3", "--alone", "--other", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| this | 2.00 s, 4.00 s | 3.00 s, 5.00 s |" in printed
    assert "| other | 3.00 s, 3.00 s | 4.00 s, 4.00 s |" in printed
