from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed import stablevsr_clip

pytest.importorskip("diffusers")
pytest.importorskip("cv2")


def test_it_runs_at_tiny_size_and_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{stablevsr_clip.BEGIN}\n{stablevsr_clip.END}\n")
    words = ["--tiny", "--device", "cpu", "--size", "36x32", "--frames", "2", "--steps", "2", "--flow", "dis"]
    assert stablevsr_clip.main([*words, "--write", str(page)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() in page.read_text()
    assert "36x32, 2 frames, fp32, dis" in printed and "a frame with 50 steps" in printed
    with pytest.raises(SystemExit):
        stablevsr_clip.main([*words, "--steps", "1"])


def test_the_time_of_a_frame_is_put_together_of_its_parts() -> None:
    found = stablevsr_clip.Measured("plan", before=4.0, step=0.1, after=0.5, frames=8, peak=2, predicted=1)
    assert found.seconds_each == pytest.approx(0.5 + 5.0 + 0.5)
