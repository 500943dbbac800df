"""A benchmark enlarges, scores and tabulates; it goes on after a kill, and what fails does not stop the rest."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from starvsr.errors import InputError, JobError, OptionError, OutputExistsError, StarVsrError
from starvsr.evaluation.benchmarks.inputs import InputOptions
from starvsr.evaluation.benchmarks.methods import parse_methods
from starvsr.evaluation.benchmarks.run import BenchmarkOptions, BenchmarkResult, run_benchmark
from starvsr.evaluation.benchmarks.sets import get_set
from starvsr.evaluation.run import EvaluationOptions
from starvsr.jobs.lock import JobLock
from tests.evaluation.benchmarks.made_sets import pairs
from tests.evaluation.made_clips import film, moving, zoomed
from tests.video.programs import ffmpeg

QUICK = EvaluationOptions(metrics=["psnr_rgb_db", "ssim_y"])


def run(
    data: Path, out: Path, words: str = "lanczos,bicubic", name: str = "custom", steps: list[str] | None = None, **more
) -> BenchmarkResult:
    options = BenchmarkOptions(data, parse_methods(words.split(",")), shared={"threads": 1}, evaluation=QUICK)
    on_step = (lambda line: None) if steps is None else steps.append
    return run_benchmark(get_set(name), replace(options, **more), out, on_step=on_step)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairs(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "whole"
    run(data, out)
    return out


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "table.csv").read_text().splitlines()))


def test_results_are_lossless_and_scored_as_they_are(data: Path, whole: Path) -> None:
    raw = ffmpeg("-i", whole / "results/lanczos/one.mkv", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    result = np.frombuffer(raw, np.uint8).reshape(3, 64, 96, 3)
    lq = [Image.open(data / f"LQ/one/{t:04d}.png") for t in range(3)]
    lanczos = [np.asarray(frame.resize((96, 64), Image.Resampling.LANCZOS), int) for frame in lq]
    assert np.abs(result - np.stack(lanczos)).max() <= 2
    values = []
    for clip in ("one", "two"):
        raw = ffmpeg("-i", whole / f"results/lanczos/{clip}.mkv", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
        made = np.frombuffer(raw, np.uint8).reshape(3, 64, 96, 3)
        gt = [np.asarray(Image.open(data / f"GT/{clip}/{t:04d}.png")) for t in range(3)]
        values.append(np.mean([peak_signal_noise_ratio(a, b) for a, b in zip(gt, made, strict=True)]))
    row = next(row for row in table(whole) if (row["metric"], row["method"]) == ("psnr_rgb_db", "lanczos"))
    assert float(row["value"]) == pytest.approx(np.mean(values), abs=1e-4)
    assert (row["origin"], row["clips"], row["data_set"]) == ("measured", "2", "custom")


def test_the_record_says_what_was_scored(whole: Path) -> None:
    record = json.loads((whole / "table.json").read_text())["benchmark"]
    assert record["clips"] == "2 of 2" and record["low_quality"] == "from LQ"
    assert set(record["models"]) == {"lanczos", "bicubic"}
    assert set(record["pixels_sha256"]["one"]) == {"gt", "lq"}


def test_a_second_run_does_nothing_again_and_models_can_be_added(data: Path, whole: Path) -> None:
    before = (whole / "table.csv").read_bytes()
    steps: list[str] = []
    run(data, whole, steps=steps)
    assert [line for line in steps if not line.startswith("data:")] == []
    assert (whole / "table.csv").read_bytes() == before
    shutil.move(whole / "results/bicubic/one.mkv", whole / "kept.mkv")  # its scores are enough
    steps.clear()
    run(data, whole, "lanczos,bicubic,again=lanczos", steps=steps)
    expected = {f"enlarging {clip} by again" for clip in ("one", "two")}
    expected |= {f"scoring {clip} of again" for clip in ("one", "two")}
    assert {line.split(" (")[0] for line in steps if not line.startswith("data:")} == expected
    rows = table(whole)
    assert len(rows) == 6
    assert rows[0]["value"] == rows[2]["value"]
    shutil.move(whole / "kept.mkv", whole / "results/bicubic/one.mkv")
    run(data, whole)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.evaluation.benchmarks.test_run import run
def on_step(line):
    if line.startswith("enlarging two by lanczos"):
        os.kill(os.getpid(), signal.SIGKILL)
class Steps(list):
    append = staticmethod(on_step)
run(Path(sys.argv[1]), Path(sys.argv[2]), steps=Steps())
"""


def test_a_run_that_was_killed_goes_on_to_the_same_table(data: Path, whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(data), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -signal.SIGKILL
    result = tmp_path / "out/results/lanczos/one.mkv"
    stamp = result.stat().st_mtime_ns
    assert (tmp_path / "out/scores/lanczos/one.json").is_file() and not (tmp_path / "out/table.csv").exists()
    steps: list[str] = []
    run(data, tmp_path / "out", steps=steps)
    assert not [line for line in steps if " one by lanczos" in line or " one of lanczos" in line]
    assert result.stat().st_mtime_ns == stamp
    for name in ("table.csv", "table.md", "table.tex"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def test_what_fails_is_told_and_the_rest_is_scored(tmp_path: Path) -> None:
    pairs(tmp_path / "set", ("good",))
    wide = zoomed(3, 96, 128)
    film(tmp_path / "set/GT/moved.mkv", np.ascontiguousarray(wide[:, 8:72, 8:104]))
    moved = [Image.fromarray(f[16:80, 16:112]).resize((24, 16), Image.Resampling.BICUBIC) for f in wide]
    film(tmp_path / "set/LQ/moved.mkv", np.stack([np.asarray(frame) for frame in moved]))
    result = run(tmp_path / "set", tmp_path / "out", "lanczos", name="custom")
    assert [score.clip for score in result.table.report.scores] == ["good"]
    (failure,) = result.table.failures
    assert failure.startswith("lanczos on moved: moved: ") and "shift" in failure
    assert "failed: lanczos on moved" in (tmp_path / "out/table.md").read_text()
    assert "1 clip)" in (tmp_path / "out/table.md").read_text()
    only = {"clips": ["moved"]}
    with pytest.raises(StarVsrError, match="no result could be scored: lanczos on moved"):
        run(tmp_path / "set", tmp_path / "out", "lanczos", **only)
    allowed = replace(QUICK, allow_shift=True)
    assert not run(tmp_path / "set", tmp_path / "out", "lanczos", evaluation=allowed).table.failures


def test_sets_without_ground_truth_get_the_metrics_that_need_none(tmp_path: Path) -> None:
    film(tmp_path / "set/LQ/a.mkv", moving(3, 32, 48))
    options = {"allow_partial": True, "evaluation": EvaluationOptions(metrics=["weave", "psnr_y_db"])}
    result = run(tmp_path / "set", tmp_path / "out", "bicubic", name="videolq", published="all", **options)
    report = result.table.report
    assert [m.name for m in report.metrics] == ["weave"]
    assert "psnr_y_db: needs a reference" in report.absences()[0]
    text = (tmp_path / "out/table.md").read_text()
    assert "STAR [1]" in text and "STAR [2]" in text and "E*warp (not measured)" in text
    assert "a part of the set: 1 of 50 clips" in text


def test_published_values_are_marked_and_never_among_ours(data: Path, tmp_path: Path) -> None:
    result = run(data, tmp_path / "out", "bicubic", name="udm10", allow_partial=True, lq="LQ")
    rows = {(r["metric"], r["method"], r["origin"]): r for r in table(tmp_path / "out")}
    theirs = rows["psnr_rgb_db", "STAR", "published"]
    assert float(theirs["value"]) == 23.91 and "arXiv 2501.02976" in theirs["source"] and not theirs["clips"]
    assert float(rows["LPIPS", "STAR", "published"]["value"]) == 0.1885
    assert ("psnr_rgb_db", "STAR", "measured") not in rows
    text = (tmp_path / "out/table.md").read_text()
    assert "| STAR [1]" in text and "as published, not measured here" in text and "**23.91**" not in text
    assert r"\textit{23.91}" in (tmp_path / "out/table.tex").read_text()
    assert result.table.report.methods() == ["bicubic"]
    run(data, tmp_path / "out", "bicubic", name="udm10", allow_partial=True, lq="LQ", published="none")
    assert "STAR" not in (tmp_path / "out/table.md").read_text()
    with pytest.raises(OptionError, match="--published: unknown nobody: own, all, none, or star"):
        run(data, tmp_path / "out", "bicubic", name="udm10", allow_partial=True, lq="LQ", published="nobody")


def test_folders_of_other_things_and_other_models_are_refused(data: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").touch()
    with pytest.raises(OutputExistsError, match=r"holds other files \(letter.txt\)"):
        run(data, tmp_path / "mine")
    with pytest.raises(OptionError, match="a file; a benchmark keeps a folder"):
        run(data, tmp_path / "mine/letter.txt")
    with pytest.raises(InputError, match=r"holds results of another model .*model bicubic for lanczos"):
        run(data, whole, "lanczos=bicubic")
    with pytest.raises(InputError, match="frozen with other settings"):
        run(data, whole, inputs=InputOptions(frames=2))
    lock = JobLock(whole / ".lock")
    try:
        with pytest.raises(JobError, match="another process runs this benchmark"):
            run(data, whole)
    finally:
        lock.release()
