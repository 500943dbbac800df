from __future__ import annotations

import json
import math

import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.metrics.evaluate import HIGHER_IS_BETTER, METRICS, ClipPair, evaluate
from starvsr.metrics.vmaf import has_vmaf

FIDELITY = ["psnr_y_db", "ssim_y"]


@pytest.fixture
def pairs(reference):
    gt = reference[:3, :64, :80]
    lq = gt.reshape(3, 16, 4, 20, 4, 3).mean((2, 4)).round().astype(np.uint8)
    return [ClipPair("a", "light", lq, gt), ClipPair("b", "heavy", lq // 2, gt)]


def nearest(lq):
    return lq.repeat(4, axis=1).repeat(4, axis=2)


def test_table_holds_every_score_and_its_means(pairs):
    seen = []
    table = evaluate(
        pairs,
        {"nearest": nearest, "black": lambda lq: np.zeros_like(nearest(lq))},
        metrics=FIDELITY,
        on_result=lambda pair, method, hq, score: seen.append((pair.name, method, hq.shape)),
    )
    assert seen == [(p, m, (3, 64, 80, 3)) for p in "ab" for m in ("nearest", "black")]
    assert (table.groups(), table.methods()) == (["light", "heavy"], ["nearest", "black"])
    light, heavy, both = (table.mean("nearest", group) for group in ("light", "heavy", None))
    assert both["psnr_y_db"] == pytest.approx((light["psnr_y_db"] + heavy["psnr_y_db"]) / 2)
    assert light["psnr_y_db"] > heavy["psnr_y_db"] > table.mean("black", "heavy")["psnr_y_db"]
    assert light["seconds_per_frame"] >= 0
    assert table.to_markdown().count("\n") == 2 + 4
    assert f"{light['ssim_y']:.4f}" in table.to_markdown()


def test_files_are_written_and_infinite_values_become_null(pairs, tmp_path):
    gt = {pair.name: pair.gt for pair in pairs}
    table = evaluate(pairs[:1], {"oracle": lambda lq: gt["a"]}, metrics=FIDELITY)
    table.save(tmp_path / "new", "scores")
    told = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert told["means"]["light"]["oracle"]["psnr_y_db"] is None
    assert told["means"]["light"]["oracle"]["ssim_y"] == 1
    assert told["protocol"]["crop_px"] == 8
    assert "oracle" in (tmp_path / "new" / "scores.md").read_text()


@pytest.mark.skipif(not has_vmaf(), reason="imageio-ffmpeg with libvmaf is not installed")
def test_all_metrics_run_and_have_a_direction(pairs):
    table = evaluate(pairs[:1], {"nearest": nearest})
    assert set(table.scores[0].values) == set(METRICS) == set(HIGHER_IS_BETTER)
    assert all(math.isfinite(value) for value in table.scores[0].values.values())


def test_a_clip_without_a_value_is_left_out_of_the_mean(pairs):
    single = ClipPair("one frame", "light", pairs[0].lq[:1], pairs[0].gt[:1])
    table = evaluate([pairs[0], single], {"nearest": nearest}, metrics=["warping_error_x1e3"])
    assert math.isnan(table.scores[1].values["warping_error_x1e3"])
    assert table.mean("nearest")["warping_error_x1e3"] == table.scores[0].values["warping_error_x1e3"]


def test_wrong_requests_are_refused(pairs):
    with pytest.raises(OptionError, match="unknown metric"):
        evaluate(pairs, {"nearest": nearest}, metrics=["niqe"])
    with pytest.raises(OptionError, match="check its scale"):
        evaluate(pairs, {"same": lambda lq: lq}, metrics=FIDELITY)
    with pytest.raises(OptionError, match="no score"):
        evaluate([], {}, metrics=FIDELITY).mean("nearest")
