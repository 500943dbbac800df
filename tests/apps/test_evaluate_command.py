"""`starvsr evaluate`: scores, reports, comparisons, limits, and clear words about bad input."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from starvsr.apps.cli import main
from tests.apps.commands import leftovers
from tests.evaluation.made_clips import blurred, film, moving, pictures, zoomed
from tests.video.programs import ffmpeg

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
    rows = list(csv.DictReader((report / "scores.csv").read_text().splitlines()))
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
    assert r"Data set & Metric & blurry & \textless{}b\textgreater{}\&noisy \\" in latex
    means = json.loads((report / "report.json").read_text())["summary"].popitem()[1]
    values = [means[method]["psnr_y_db"]["mean"] for method in ("blurry", "<b>&noisy")]
    cells = [rf"\textbf{{{v:.3f}}}" if v == max(values) else f"{v:.3f}" for v in values]
    assert rf"psnr\_y\_db $\uparrow$ & {' & '.join(cells)} \\" in latex
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
    preview = next(path for path in (report / "previews").iterdir() if "blurry-two" in path.name)
    raw = ffmpeg("-i", preview, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 128, 96, 3)
    assert len(frames) == 4  # one above the other
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
    said = capsys.readouterr()
    assert "warping_error_x1e3" in said.out
    assert said.err == "missing: psnr_y_db: needs a reference (--reference)\n"  # asked for by name
    assert main(["evaluate", str(folders / "blurry"), "--metrics", "all", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_clips_without_partner_are_listed(folders: Path, tmp_path: Path, one_line) -> None:
    shutil.copytree(folders / "gt", tmp_path / "gt")
    (tmp_path / "gt" / "two.mkv").rename(tmp_path / "gt" / "other.mkv")
    code, said = one_line("evaluate", folders / "blurry", "--reference", tmp_path / "gt", *PSNR)
    assert code == 1 and "two_x4 of the result has no partner in --reference and other of --reference has none" in said


def test_bad_clips_are_refused_before_anything_is_scored(folders: Path, tmp_path: Path, one_line) -> None:
    gt = zoomed(4)
    for name in ("a", "b"):
        film(tmp_path / "gt" / f"{name}.mkv", gt)
    film(tmp_path / "hq" / "a.mkv", blurred(gt))
    film(tmp_path / "hq" / "b.mkv", blurred(gt)[:-1])
    code, said = one_line("evaluate", tmp_path / "hq", "--reference", tmp_path / "gt", *PSNR, "-o", tmp_path / "r")
    assert code == 1 and "b: the result has 3 frames, the reference 4" in said
    assert leftovers(tmp_path) == ["gt", "hq"]


def test_a_shifted_result_is_refused_and_scored_when_that_is_wanted(tmp_path: Path, one_line, capsys) -> None:
    wide = moving(4, 64, 98)
    gt, hq = film(tmp_path / "gt.mkv", wide[:, :, 1:-1]), film(tmp_path / "hq.mkv", wide[:, :, :-2])
    words = ("evaluate", hq, "--reference", gt)
    assert "shifted by 1.0 px to the right" in one_line(*words, *PSNR)[1]
    assert main([*map(str, words), "--metrics", "psnr_y_db", "--allow-shift"]) == 0
    assert "note: gt: the result is shifted by 1.0 px to the right" in capsys.readouterr().err


def test_a_result_that_is_its_reference_is_told(folders: Path, tmp_path: Path, one_line, capsys) -> None:
    gt = folders / "gt" / "one.mkv"
    assert "is given as result and as --reference" in one_line("evaluate", gt, "--reference", gt, *PSNR)[1]
    copy = shutil.copy(gt, tmp_path / "copy.mkv")
    words = ["evaluate", str(copy), "--reference", str(gt), "--metrics", "psnr_y_db,ssim_y", "-o", str(tmp_path / "r")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "the result equals the reference in all frames (4)" in said.err
    assert re.search(r"psnr_y_db ↑ +\| ∞", said.out) and "1.0000" in said.out
    tree = json.loads((tmp_path / "r" / "report.json").read_text())
    assert tree["scores"][0]["frames"]["psnr_y_db"] == ["inf"] * 4
    assert main(["evaluate", "--compare", str(tmp_path / "r"), str(tmp_path / "r")]) == 0


def test_one_result_given_twice_is_refused(folders: Path, one_line) -> None:
    hq = folders / "blurry"
    assert "two results are called" in one_line("evaluate", hq, hq, "--reference", folders / "gt", *PSNR)[1]


def test_single_frames_are_scored_without_metrics_of_change(tmp_path: Path, capsys) -> None:
    gt = zoomed(1)[0]
    Image.fromarray(gt).save(tmp_path / "gt.png")
    Image.fromarray(blurred(gt[None])[0]).save(tmp_path / "hq.png")
    words = ["evaluate", str(tmp_path / "hq.png"), "--reference", str(tmp_path / "gt.png"), "-o", str(tmp_path / "r")]
    assert main([*words, "--metrics", "psnr_y_db,warping_error_x1e3"]) == 0
    said = capsys.readouterr()
    assert (
        "missing: warping_error_x1e3: no frame of the clip has a value (metrics of change need two frames" in said.err
    )
    assert "psnr_y_db" in said.out and "(1 clip)" in said.out
    assert "<h2>Player</h2>" not in (tmp_path / "r" / "index.html").read_text()


def test_empty_folders_and_files_that_are_not_there(folders: Path, tmp_path: Path, one_line) -> None:
    (tmp_path / "empty").mkdir()
    reference = ("--reference", folders / "gt")
    assert "neither videos nor images" in one_line("evaluate", tmp_path / "empty", *reference, *PSNR)[1]
    assert (
        "neither videos nor images" in one_line("evaluate", folders / "gt", "--reference", tmp_path / "empty", *PSNR)[1]
    )
    assert "there is no such file" in one_line("evaluate", tmp_path / "gone.mp4", *reference, *PSNR)[1]
    (tmp_path / "torn.mkv").write_bytes((folders / "gt" / "one.mkv").read_bytes()[:900])
    assert one_line("evaluate", tmp_path / "torn.mkv", "--reference", folders / "gt" / "one.mkv", *PSNR)[0] == 1


def test_pipes_are_refused(folders: Path, tmp_path: Path, one_line) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    reference = ("--reference", folders / "gt" / "one.mkv")
    assert "a pipe, which cannot be read twice" in one_line("evaluate", tmp_path / "pipe.mp4", *reference, *PSNR)[1]


def test_deep_and_float_pictures(tmp_path: Path, capsys) -> None:
    """PNG of 16 bits is rounded; samples of float TIFF that are no numbers are black, so that no score is NaN."""
    import cv2

    gt = zoomed(1)[0]
    Image.fromarray(gt).save(tmp_path / "gt.png")
    cv2.imwrite(str(tmp_path / "deep.png"), gt[..., ::-1].astype(np.uint16) * 257 + 90)
    assert main(["evaluate", str(tmp_path / "deep.png"), "--reference", str(tmp_path / "gt.png"), *PSNR]) == 0
    assert "∞" in capsys.readouterr().out  # 90 of 65535 is nothing in 8 bits
    for name, value in (("plain", 0.5), ("nan", np.nan)):
        pixels = (gt[..., ::-1] / 255).astype(np.float32)
        pixels[10:20, 10:20] = value
        cv2.imwrite(str(tmp_path / f"{name}.tif"), pixels)
        code = main(["evaluate", str(tmp_path / f"{name}.tif"), "--reference", str(tmp_path / "gt.png"), *PSNR[:2]])
        said = capsys.readouterr()
        assert "unexpected" not in said.err and "Traceback" not in said.err
        assert code == 0 and re.search(r"\| psnr_y_db ↑ +\| (∞|\d+\.\d+) +\|", said.out)
        told = "nan.tif: samples that are no numbers (NaN) are taken for black" in said.out + said.err
        assert told == (name == "nan")


def test_wrong_words_are_refused(folders: Path, tmp_path: Path, one_line) -> None:
    words = ("evaluate", folders / "blurry", "--reference", folders / "gt")
    assert "unknown metric 'psnr': choose from" in one_line(*words, "--metrics", "psnr")[1]
    assert "must read METRIC=VALUE" in one_line(*words, "--min", "psnr_y_db")[1]
    assert "unknown metric 'x'" in one_line(*words, "--max", "x=3")[1]
    assert "leaves nothing of" in one_line(*words, "--crop-px", "32", *PSNR)[1]
    assert one_line("evaluate")[0] == 2
    assert "name each, in order" in one_line(*words, "--name", "a", "--name", "b")[1]
    assert (
        "no metric can be computed: psnr_y_db needs a reference" in one_line("evaluate", folders / "blurry", *PSNR)[1]
    )
    assert (
        "is no report" in one_line("evaluate", "--compare", _json(tmp_path / "a.json"), _json(tmp_path / "b.json"))[1]
    )


def _json(path: Path) -> Path:
    path.write_text('{"format": "something else"}')
    return path


def test_reports_replace_reports_alone_and_only_when_asked(folders: Path, tmp_path: Path, one_line, capsys) -> None:
    words = ("evaluate", folders / "blurry", "--reference", folders / "gt", *PSNR, "--no-previews", "-o")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert "the folder holds other files" in one_line(*words, tmp_path / "mine", "-y")[1]
    assert main([*map(str, words), str(tmp_path / "r")]) == 0
    (tmp_path / "r" / "old.txt").touch()
    capsys.readouterr()
    assert "a report is there already; use --overwrite" in one_line(*words, tmp_path / "r")[1]
    assert main([*map(str, words), str(tmp_path / "r"), "-y"]) == 0
    assert "old.txt" not in leftovers(tmp_path / "r") and leftovers(tmp_path) == ["mine", "r"]
    assert "does not exist" in one_line(*words, tmp_path / "no" / "r")[1]


def test_a_metric_that_fails_is_missing_and_the_others_go_on(folders: Path, capsys, monkeypatch) -> None:
    from starvsr.errors import WeightsError
    from starvsr.metrics import registry
    from starvsr.metrics.metric import Metric

    def compute(frames, /, *, device):
        next(frames)
        yield 1.0
        raise WeightsError("weights are not there: starvsr models fetch lpips")

    lpips = Metric(
        name="made_up", unit="", higher_is_better=False, needs=frozenset({"gt"}), protocol="", compute=compute
    )
    monkeypatch.setattr(registry, "METRICS", [*registry.METRICS, lpips])
    words = [str(folders / "blurry"), "--reference", str(folders / "gt"), "--metrics", "made_up,psnr_y_db"]
    assert main(["evaluate", *words]) == 0
    said = capsys.readouterr()
    assert "missing: made_up: weights are not there: starvsr models fetch lpips" in said.err
    assert "psnr_y_db" in said.out and "made_up" not in said.out


def test_flow_of_the_result_itself_needs_no_reference(folders: Path, capsys) -> None:
    words = ["evaluate", str(folders / "blurry"), "--metrics", "warping_error_x1e3", "--flow-source", "hq", "-q"]
    assert main(words) == 0
    assert re.search(r"warping_error_x1e3 ↓ +\| \d+\.\d+", capsys.readouterr().out)


def test_a_crop_that_does_not_fit_the_input_leaves_out_metrics_of_the_input(folders: Path, capsys) -> None:
    words = ["evaluate", str(folders / "blurry"), "--reference", str(folders / "gt"), "--lq", str(folders / "lq")]
    assert main([*words, "--metrics", "psnr_y_db,color_drift_lq_de00", "--crop-px", "6"]) == 0
    said = capsys.readouterr()
    assert "missing: color_drift_lq_de00: needs --crop-px to be a multiple of 4" in said.err
    assert "psnr_y_db" in said.out
