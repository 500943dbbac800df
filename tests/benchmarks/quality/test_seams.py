"""Tables of seams and of what resuming costs, with a model that takes no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality import seams
from benchmarks.reliability import resume_cost
from starvsr.families import loading
from tests.support.doubles import DriftingUpscaler, NearestUpscaler
from tests.video.clips import make_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "bars.mp4", count=40, size=(32, 24))


def test_the_table_of_seams_is_written_and_a_broken_gate_told(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{seams.BEGIN}\n{seams.END}\n")
    monkeypatch.setattr(loading, "load_for", lambda options: NearestUpscaler())
    assert seams.main([str(clip), "--frames", "40", "--write", str(page)]) == 0
    assert "| bars | 32x24 | 16, 2, 0 | 2 | 1.0000 |" in page.read_text()
    monkeypatch.setattr(loading, "load_for", lambda options: DriftingUpscaler())
    assert seams.main([str(clip)]) == 1


def test_passing_over_frames_is_measured(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "load_for", lambda options: NearestUpscaler())
    assert resume_cost.main([str(clip)]) == 0
    assert "| bars | 32x24 | " in capsys.readouterr().out
