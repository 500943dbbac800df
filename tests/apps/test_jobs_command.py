"""`jobs`: what was interrupted is listed, shown, resumed and cleaned up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from starvsr.apps.cli import main
from tests.apps.commands import QUICK, leftovers, write_clip


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output whose job ran out of memory with some parts finished."""
    from starvsr.families.bicubic import BicubicUpscaler

    def hungry(self, lq, *, first_frame, **arguments):
        if first_frame > 20:
            raise MemoryError
        return upscale_clip(self, lq, first_frame=first_frame, **arguments)

    upscale_clip = BicubicUpscaler.upscale_clip
    source = write_clip(tmp_path / "in.mp4", num_frames=30, rate=4)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "o.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(BicubicUpscaler, "upscale_clip", hungry)
        assert main(["upscale", str(source), "-o", str(out), "--segment", "4", *QUICK]) == 1
    return out


def test_an_interrupted_job_is_listed_shown_and_gone_on_with(
    capsys: pytest.CaptureFixture[str], interrupted: Path
) -> None:
    kept = re.search(r"note: (\d+) of 30 frames \((\d+) %\) are finished and kept in", capsys.readouterr().err)
    assert kept is not None
    assert main(["jobs", "list", str(interrupted.parent)]) == 0
    assert f"o.mp4: {kept[1]} of 30 frames ({kept[2]} %)" in capsys.readouterr().out
    assert main(["jobs", "show", str(interrupted)]) == 0
    said = capsys.readouterr().out
    for word in ("interrupted", f"{kept[1]} of 30", "libx264", "bicubic", "in.mp4", "segment 4"):
        assert word in said
    assert main(["jobs", "resume", f"{interrupted}.job", "-q"]) == 0
    assert f"30 frames of 96x64, {kept[1]} of them from before" in capsys.readouterr().out
    assert leftovers(interrupted.parent) == ["o.mp4"]


def test_changed_options_name_the_difference_and_restart_begins_anew(interrupted: Path, one_line) -> None:
    words = ("upscale", interrupted.parent.parent / "in.mp4", "-o", interrupted, "--segment", "4", *QUICK, "-q")
    code, said = one_line(*words, "--crf", "25")
    assert code == 1 and "--crf: none before, 25 now" in said and "--restart" in said
    assert main([str(word) for word in (*words, "--crf", "25", "--restart")]) == 0
    assert leftovers(interrupted.parent) == ["o.mp4"]


def test_clean_removes_jobs_and_nothing_else(interrupted: Path, one_line, capsys: pytest.CaptureFixture[str]) -> None:
    folder = interrupted.parent
    (folder / "mine.job").mkdir()
    (folder / "mine.job" / "letter.txt").write_text("dear")
    assert main(["jobs", "clean", "--all", str(folder)]) == 0
    assert "freed" in capsys.readouterr().out
    assert leftovers(folder) == ["mine.job"]
    assert one_line("jobs", "show", interrupted)[0] == 1
    assert one_line("jobs", "clean", folder / "mine.job")[0] == 1
    assert one_line("jobs", "clean")[0] == 2
