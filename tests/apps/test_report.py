"""`upscale --report`: a page beside the output; what cannot have one is refused first; its failure costs no video."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from starvsr.apps.cli import main
from starvsr.errors import OutputError
from tests.apps.commands import QUICK, leftovers, write_clip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "film.mp4", num_frames=12, size=(64, 48))


def test_a_report_stands_beside_the_output(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.mp4"
    words = ["--scale", "2", "--segment", "4", "--tile", "40", "--tile-overlap", "8", "--no-scene-cuts"]
    assert main(["upscale", str(film), "-o", str(out), "--report", *words, *QUICK]) == 0
    assert leftovers(tmp_path) == ["o.mp4", "o_report"]
    assert "open " in capsys.readouterr().out
    (score,) = json.loads((tmp_path / "o_report" / "report.json").read_text())["scores"]
    assert score["survey"]["borders"]["segments"] == [4, 8]
    assert [place for place, _ in score["survey"]["borders"]["columns"]] == [64]
    assert score["frames"]["consistency_lq_db"][0] > 15
    page = (tmp_path / "o_report" / "index.html").read_text()
    assert "<h1>Report: o.mp4</h1>" in page and 'href="../o.mp4"' in page and str(tmp_path) not in page


def test_a_part_is_compared_with_that_part(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mkv"
    part = ["--start", "0.16", "--duration", "0.2", "--scale", "1.5"]
    assert main(["upscale", str(film), "-o", str(out), "--report", "-q", *part, *QUICK]) == 0
    (score,) = json.loads((tmp_path / "o_report" / "report.json").read_text())["scores"]
    assert score["num_frames"] == 5 and min(score["frames"]["consistency_lq_db"]) > 15


def test_evaluate_makes_the_same_page_of_a_finished_job(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    assert main(["upscale", str(film), "-o", str(out), "--scale", "2", "--report", "-q", *QUICK]) == 0
    names = "consistency_lq_db,added_detail_lq"
    words = ["--lq", str(film), "--metrics", names, "-o", str(tmp_path / "again"), "-q"]
    assert main(["evaluate", str(out), *words]) == 0
    one, other = (
        json.loads((tmp_path / name / "report.json").read_text())["scores"][0] for name in ("o_report", "again")
    )
    assert {name: one["frames"][name] for name in names.split(",")} == other["frames"]
    one["survey"].pop("borders")
    assert one["survey"] == other["survey"]


def test_what_cannot_have_one_is_refused_before_any_work(film: Path, tmp_path: Path, one_line) -> None:
    out = tmp_path / "o.mp4"
    code, line = one_line("upscale", film, "-o", out, "--height", "24", "--report", *QUICK)
    assert code == 1 and "32x24 is smaller than 64x48" in line
    (tmp_path / "o_report").mkdir()
    (tmp_path / "o_report" / "mine.txt").write_text("kept")
    code, line = one_line("upscale", film, "-o", out, "--report", *QUICK)
    assert code == 1 and "holds other files" in line
    assert leftovers(tmp_path) == ["o_report"] and leftovers(tmp_path / "o_report") == ["mine.txt"]


def test_photos_are_told_where_to_go(tmp_path: Path, one_line) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for name in ("cat", "dog"):
        Image.new("RGB", (24, 16), "red").save(tmp_path / "photos" / f"{name}.png")
    code, line = one_line("upscale", tmp_path / "photos", "-o", tmp_path / "large", "--report", *QUICK)
    assert code == 1 and "starvsr evaluate OUT --lq IN" in line
    assert leftovers(tmp_path) == ["photos"]


@pytest.mark.parametrize("error", [OutputError("the disk is full; free some space"), RuntimeError("odd")])
def test_a_report_that_fails_leaves_the_video(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*args, **named):
        raise error

    monkeypatch.setattr("starvsr.evaluation.job_report.write_report", fail)
    out = tmp_path / "o.mp4"
    assert main(["upscale", str(film), "-o", str(out), "--report", "--scale", "2", *QUICK]) == 1
    assert leftovers(tmp_path) == ["o.mp4"]
    told = capsys.readouterr().err
    assert f"{out} is whole, but its report failed: " in told and str(error) in told
    assert f"starvsr evaluate {out} --lq {film} -o {tmp_path / 'o_report'}" in told


def test_a_stopped_report_leaves_the_video(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("starvsr.evaluation.job_report.evaluate_results", stop)
    out = tmp_path / "o.mp4"
    assert main(["upscale", str(film), "-o", str(out), "--report", "--scale", "2", *QUICK]) != 0
    assert leftovers(tmp_path) == ["o.mp4"]
    assert "its report was stopped" in capsys.readouterr().err
