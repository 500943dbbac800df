from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.quality import quality_small
from starvsr.metrics.metric import FrameSet
from starvsr.metrics.vmaf import has_vmaf
from starvsr.video.codec_pass import write_lossless
from tests.metrics import synthetic_clips


@pytest.mark.skipif(not has_vmaf(), reason="imageio-ffmpeg with libvmaf is not installed")
def test_a_small_comparison_runs_end_to_end(tmp_path, capsys):
    (tmp_path / "hq").mkdir()
    write_lossless(tmp_path / "hq" / "pan.mkv", synthetic_clips.reference(3, 96, 128))
    arguments = ["--hq", str(tmp_path / "hq"), "--out", str(tmp_path / "out"), "--methods", "bicubic", "--frames", "2"]
    quality_small.main(arguments)
    first = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {group: list(methods) for group, methods in first["means"].items()} == {
        "light": ["bicubic"],
        "heavy": ["bicubic"],
    }
    assert first["means"]["light"]["bicubic"]["psnr_y_db"] > first["means"]["heavy"]["bicubic"]["psnr_y_db"] > 10
    assert (tmp_path / "out" / "crops_heavy.png").stat().st_size > 1000
    assert "| light | bicubic |" in capsys.readouterr().out
    quality_small.main(arguments)
    again = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [s["frames"] for s in again["scores"]] == [s["frames"] for s in first["scores"]]
    assert [len(values) for values in first["scores"][0]["frames"].values()] == [2] * 4
    assert (tmp_path / "out" / "scores.csv").read_text().count("\n") == 1 + 2 * 2


def test_crops_put_the_ground_truth_last():
    sheets: dict = {}
    gt = np.zeros((1, 64, 64, 3), np.uint8)
    pair = quality_small.ClipPair("c", "light", gt[:, ::4, ::4], gt)
    for method in ("bicubic", "star-small"):
        quality_small._add_crop(sheets, pair, method, 0, FrameSet(gt[0], gt[0]))
    assert list(sheets["light"]["c"].pictures) == ["lq", "bicubic", "star-small", "ground truth"]


def test_several_numbers_of_steps_are_rows_of_their_own(monkeypatch):
    monkeypatch.setattr(quality_small, "StarSmall", lambda weights, seed, steps: steps)
    words = ["--hq", "x", "--methods", "star-small"]
    monkeypatch.setattr(quality_small, "by_clip", lambda method: method)
    parse = quality_small._parser().parse_args
    assert quality_small.choose_methods(parse(words)) == {"star-small": None}
    several = quality_small.choose_methods(parse([*words, "--steps", "1", "4"]))
    assert several == {"star-small, 1 step": 1, "star-small, 4 steps": 4}
