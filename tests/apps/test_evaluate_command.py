"""`starvsr evaluate`: scores, reports, comparisons, limits, and clear words about bad input."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from starvsr.apps.cli import main
from tests.apps.commands import leftovers
from tests.evaluation.made_clips import blurred, film, pictures, zoomed

PSNR = ("--metrics", "psnr_y_db", "-q")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips: gt, lq, and the results of two methods."""
    root = tmp_path_factory.mktemp("set")
    for seed, name in enumerate(("one", "two", "three")):
        gt = zoomed(4, seed=seed)
        small = [np.asarray(Image.fromarray(f).resize((24, 16), Image.Resampling.BICUBIC)) for f in gt]
        film(root / "gt" / f"{name}.mkv", gt)
        film(root / "lq" / f"{name}.mkv", np.stack(small))
        film(root / "blurry" / f"{name}_x4.mkv", blurred(gt))
        noise = np.random.default_rng(seed).normal(0, 12, gt.shape)
        pictures(root / "noisy" / name, (gt + noise).clip(0, 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def report(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report"
    words = [folders / "blurry", folders / "noisy", "--reference", folders / "gt", "--lq", folders / "lq", "-o", out]
    names = ["--name", "blurry", "--name", "<b>&noisy"]
    assert main(["evaluate", *map(str, words), "--metrics", "psnr_y_db,warping_error_x1e3", *names]) == 0
    return out


def test_scores_are_printed_and_nothing_is_written(folders: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(folders / "blurry"), "--reference", str(folders / "gt"), *PSNR]) == 0
    said = capsys.readouterr()
    assert re.search(r"\| psnr_y_db ↑ +\| \d\d\.\d{3} \[\d\d\.\d{3}, \d\d\.\d{3}\] \|", said.out)
    assert "(3 clips)" in said.out and not said.err
    assert leftovers(tmp_path) == []


def test_the_record_holds_frames_files_protocol_and_intervals(folders: Path, report: Path) -> None:
    tree = json.loads((report / "report.json").read_text())
    assert [metric["name"] for metric in tree["metrics"]] == ["psnr_y_db", "warping_error_x1e3"]
    score = next(s for s in tree["scores"] if (s["method"], s["clip"]) == ("blurry", "two"))
    assert len(score["frames"]["psnr_y_db"]) == score["num_frames"] == 4
    assert score["frames"]["warping_error_x1e3"][0] is None  # a pair of frames has no value at the first one
    assert score["values"]["psnr_y_db"] == pytest.approx(np.mean(score["frames"]["psnr_y_db"]))
    for side, file in (("result", "blurry/two_x4.mkv"), ("reference", "gt/two.mkv"), ("lq", "lq/two.mkv")):
        assert score["files"][side]["sha256"] == hashlib.sha256((folders / file).read_bytes()).hexdigest()
    assert score["alignment"]["frames_compared"] == 4
    protocol = tree["protocol"]
    assert protocol["crop_px"] == 0 and "DIS" in protocol["flow"] and "BT.601" in protocol["metrics"]["psnr_y_db"]
    assert {"numpy", "torch", "starvsr"} <= protocol["versions"].keys()
    summary = next(iter(tree["summary"].values()))["blurry"]["psnr_y_db"]
    assert summary["interval_95"][0] < summary["mean"] < summary["interval_95"][1] and summary["clips"] == 3
    assert tree["seed"] == 0


def test_values_are_those_of_another_program(folders: Path, report: Path) -> None:
    rows = list(csv.DictReader((report / "scores.csv").open()))
    assert len(rows) == 2 * 3 * 4
    gt = zoomed(4, seed=1)
    luma = [65.481 / 255, 128.553 / 255, 24.966 / 255]
    for row in rows:
        if (row["method"], row["clip"]) == ("blurry", "two"):
            frame = int(row["frame"])
            expected = peak_signal_noise_ratio(gt[frame] @ luma, blurred(gt)[frame] @ luma, data_range=255)
            assert float(row["psnr_y_db"]) == pytest.approx(expected, abs=1e-6)


def test_tables_have_metrics_as_rows_and_methods_as_columns(report: Path) -> None:
    latex = (report / "scores.tex").read_text()
    assert "Data set & Metric & blurry & <b>\\&noisy" in latex
    assert (
        re.search(r"psnr\\_y\\_db \$\\uparrow\$ & \d\d\.\d+ & \\textbf\{\d\d\.\d+\} \\\\", latex) or "textbf" in latex
    )
    text = (report / "scores.md").read_text()
    assert "Paired differences" in text and "blurry - <b>&noisy" in text and "Protocol:" in text


def test_the_page_stands_alone_and_escapes_names(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert "<b>&noisy" not in page.replace("\\u003cb>&noisy", "") and "&lt;b&gt;&amp;noisy" in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)  # pictures are in the page
    assert "http" not in page.replace("http-equiv", "")
    for word in (
        "Scores",
        "Paired differences",
        "Player",
        "Over time",
        "Worst and best frames",
        "Distributions",
        "Protocol",
    ):
        assert f"<h2>{word}</h2>" in page
    data = json.loads(re.search(r'id="clips-data">(.*?)</script>', page, re.S)[1])
    assert len(data["clips"]) == 6
    for clip in data["clips"]:
        assert (report / clip["src"]).is_file() and clip["frames"] == len(clip["values"]["psnr_y_db"]) == 4
    assert len(leftovers(report / "previews")) == 6


def test_previews_show_result_and_reference_in_one_video(folders: Path, report: Path) -> None:
    import imageio.v3

    preview = next(path for path in (report / "previews").iterdir() if "blurry-two" in path.name)
    frames = imageio.v3.imread(preview, plugin="FFMPEG")
    assert frames.shape == (4, 128, 96, 3)  # one above the other
    gt = zoomed(4, seed=1)
    for shown, made in ((frames[:, :64], blurred(gt)), (frames[:, 64:], gt)):
        assert np.abs(shown.astype(int) - made).mean() < 6
    assert np.abs(frames[:, :64].astype(int) - gt).mean() > np.abs(frames[:, 64:].astype(int) - gt).mean()


def test_two_reports_are_compared(folders: Path, tmp_path: Path, capsys) -> None:
    for name in ("blurry", "noisy"):
        words = [folders / name, "--reference", folders / "gt", "-o", tmp_path / name, "--no-previews"]
        assert main(["evaluate", *map(str, words), *PSNR]) == 0
    capsys.readouterr()
    out = ["-o", str(tmp_path / "both")]
    assert main(["evaluate", "--compare", str(tmp_path / "blurry"), str(tmp_path / "noisy" / "report.json"), *out]) == 0
    merged = capsys.readouterr().out
    assert "blurry - noisy" in merged and "0.250" in merged  # of three clips, all of one sign
    assert (
        main(
            [
                "evaluate",
                "--compare",
                str(folders / "blurry"),
                str(folders / "noisy"),
                "--reference",
                str(folders / "gt"),
                *PSNR,
            ]
        )
        == 0
    )
    row = next(line for line in merged.splitlines() if "blurry - noisy" in line)
    assert row in capsys.readouterr().out  # results give what their reports gave
    assert "Paired differences" in (tmp_path / "both" / "index.html").read_text()


def test_reports_of_other_protocols_are_not_compared(folders: Path, tmp_path: Path, one_line) -> None:
    for crop in ("0", "8"):
        words = [
            folders / "blurry",
            "--reference",
            folders / "gt",
            "-o",
            tmp_path / crop,
            "--crop-px",
            crop,
            "--no-previews",
        ]
        assert main(["evaluate", *map(str, words), *PSNR]) == 0
    assert "differ in crop_px (0 and 8)" in one_line("evaluate", "--compare", tmp_path / "0", tmp_path / "8")[1]


def test_limits_set_the_exit_status(folders: Path, capsys) -> None:
    words = ["evaluate", str(folders / "blurry"), "--reference", str(folders / "gt"), *PSNR]
    assert main([*words, "--min", "psnr_y_db=5", "--max", "psnr_y_db=90"]) == 0
    capsys.readouterr()
    assert main([*words, "--min", "psnr_y_db=60"]) == 1
    assert re.search(r"error: psnr_y_db of blurry is \d\d\.\d+ dB, below the 60 of --min", capsys.readouterr().err)
    assert main([*words, "--max", "weave=-1"]) == 1
    assert "above the -1 of --max" in capsys.readouterr().err


def test_what_a_limit_asks_for_and_is_missing_fails(folders: Path, capsys) -> None:
    assert main(["evaluate", str(folders / "blurry"), "--metrics", "weave", "--min", "psnr_y_db=1", "-q"]) == 1
    assert "psnr_y_db of blurry is missing, and --min asks for 1" in capsys.readouterr().err


def test_without_a_reference_what_needs_one_is_listed(folders: Path, tmp_path: Path, capsys) -> None:
    words = ["evaluate", str(folders / "blurry"), "--metrics", "weave,psnr_y_db,warping_error_x1e3"]
    assert main([*words, "-o", str(tmp_path / "r"), "--no-previews"]) == 0
    said = capsys.readouterr()
    assert "missing: psnr_y_db: needs a reference (--reference)" in said.err
    assert "missing: warping_error_x1e3: needs a reference (--reference) or the low-quality input" in said.err
    assert "weave" in said.out and "psnr" not in said.out
    assert "needs a reference" in (tmp_path / "r" / "index.html").read_text()
    assert main([*words, "--lq", str(folders / "lq"), "-q"]) == 0
    assert "warping_error_x1e3" in capsys.readouterr().out
