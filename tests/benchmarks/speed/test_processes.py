"""The benchmark of processes: the least of the rounds counts, and other bytes are a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed import processes
from tests.video.clips import make_clip


@pytest.mark.parametrize("differs", [False, True])
def test_the_least_of_the_rounds_counts_and_other_bytes_fail(
    differs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(tmp_path / "in.mkv", count=4, size=(32, 24))
    times = iter([9.0, 4.0, 3.0, 6.0, 5.0, 2.0])
    given: list[list[str]] = []

    def run(path: Path, out: Path, options: list[str]) -> tuple[float, str]:
        given.append(options)
        return next(times), "x" if differs and "--processes" in options else "same"

    code = processes.main([str(clip), "--rounds", "2", "--threads", "3", "--", "--crf", "20"], run)
    said = capsys.readouterr().out
    assert code == int(differs) and ("DIFFER" in said) == differs
    assert "| one process, 3 threads each | 6.0 | 1.00 |" in said
    assert "| 2 processes, 3 threads each | 2.0 | 3.00 |" in said
    assert given[:3] == [
        ["--crf", "20", "--threads", "3"],
        ["--crf", "20", "--threads", "6"],
        ["--crf", "20", "--processes", "2", "--threads", "3"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
