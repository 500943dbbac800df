"""The published STAR from a Hub on this machine to a video, with small networks and nothing else replaced."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.published import star_end_to_end


@pytest.fixture
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages are commands of their own, started in the folder of the project."""
    monkeypatch.chdir(Path(__file__).parents[3])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.usefixtures("_at_the_root")
def test_from_a_hub_to_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- star-end-to-end:begin -->\nold\n<!-- star-end-to-end:end -->\nafter\n")
    words = [
        "--tiny",
        "--folder",
        str(tmp_path),
        "--out",
        str(tmp_path),
        "--size",
        "18",
        "12",
        "4",
        "--flags=--steps 2",
    ]
    star_end_to_end.main([*words, "--write", str(page)])
    told = json.loads((tmp_path / "star_end_to_end.json").read_text())
    assert told["output"] == "72x48, 4 frames" and "4 frames of 72x48" in told["said"]
    (resumed,) = told["resumed_at"]  # in the middle, where the connection was cut, less what was not on the disk yet
    assert 0 < int(resumed.removeprefix("bytes=").removesuffix("-")) <= told["network_bytes"] // 2
    assert [stage["peak_bytes"] > 5e7 for stage in told["stages"]] == [True] * 3
    assert "fetching and checking: " in capsys.readouterr().out
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| loading, sampling, decoding, encoding |" in text and "old" not in text
    assert not [name for name in os.listdir(tmp_path) if name.startswith("star-end-to-end-")]


def test_a_stage_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match=r"loading failed with status 3:\nno such thing"):
        star_end_to_end.run_stage("loading", [sys.executable, "-c", "print('no such thing'); exit(3)"])
