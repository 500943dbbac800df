"""Evaluation: every frame measured once, frame after frame; means, worst frames, files, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.metrics.evaluate import ClipPair, by_clip, by_frame, evaluate, measure
from starvsr.metrics.fidelity import psnr_y, ssim
from starvsr.metrics.metric import Metric, per_frame
from starvsr.metrics.registry import DEFAULT_METRICS, METRICS
from starvsr.metrics.temporal import clip_warping_error
from starvsr.metrics.texture import detail_correlation, detail_share, weave
from starvsr.metrics.vmaf import has_vmaf, vmaf
from tests.metrics.synthetic_clips import DISTORTIONS
from tests.metrics.synthetic_clips import reference as make_reference

FIDELITY = ["psnr_y_db", "ssim_y"]
PER_FRAME = json.loads(Path(__file__).with_name("golden").joinpath("per_frame.json").read_text())
NEEDS_VMAF = pytest.mark.skipif(not has_vmaf(), reason="imageio-ffmpeg with libvmaf is not installed")


@pytest.fixture
def pairs(reference):
    gt = reference[:3, :64, :80]
    lq = gt.reshape(3, 16, 4, 20, 4, 3).mean((2, 4)).round().astype(np.uint8)
    return [ClipPair("a", "light", lq, gt), ClipPair("b", "heavy", lq // 2, gt)]


def nearest(lq):
    return lq.repeat(4, axis=1).repeat(4, axis=2)


@pytest.mark.parametrize("kind", [by_clip, by_frame])
def test_the_time_of_a_method_is_measured_without_that_of_reading(pairs, kind):
    class Slow(list):
        def __iter__(self):
            for frame in super().__iter__():
                time.sleep(0.2)
                yield frame

    def upscale(lq):
        time.sleep(0.03 * len(lq))
        return nearest(lq)

    slow = [dataclasses.replace(pair, lq=Slow(pair.lq)) for pair in pairs[:1]]
    seconds = evaluate(slow, {"slow": kind(upscale)}, metrics=["psnr_y_db"]).mean("slow")["seconds_per_frame"]
    assert 0.03 <= seconds < 0.2


def test_table_holds_every_score_and_its_means(pairs):
    seen, shown = [], []
    table = evaluate(
        pairs,
        {"nearest": by_clip(nearest), "black": by_frame(lambda lq: np.zeros_like(nearest(lq)))},
        metrics=FIDELITY,
        on_frame=lambda pair, method, index, frame: shown.append((pair.name, method, index, frame.hq.shape)),
        on_result=lambda pair, method, score: seen.append((pair.name, method)),
    )
    assert seen == [(p, m) for p in "ab" for m in ("nearest", "black")]
    assert shown == [(p, m, i, (64, 80, 3)) for p in "ab" for m in ("nearest", "black") for i in range(3)]
    assert (table.groups(), table.methods()) == (["light", "heavy"], ["nearest", "black"])
    light, heavy, both = (table.mean("nearest", group) for group in ("light", "heavy", None))
    assert both["psnr_y_db"] == pytest.approx((light["psnr_y_db"] + heavy["psnr_y_db"]) / 2)
    assert light["psnr_y_db"] > heavy["psnr_y_db"] > table.mean("black", "heavy")["psnr_y_db"]
    assert light["seconds_per_frame"] >= 0
    assert table.to_markdown().count("\n") == 2 + 4
    assert f"{light['ssim_y']:.4f}" in table.to_markdown()


@NEEDS_VMAF
def test_values_are_those_of_the_functions_frame_by_frame(pairs):
    """All at once, streamed, against each function on the whole arrays: the same numbers to the last bit."""
    gt, hq = pairs[0].gt, nearest(pairs[0].lq)
    names = ["psnr_y_db", "ssim_y", "vmaf_neg", "warping_error_x1e3", "detail_share", "detail_correlation"]
    found = measure(iter(hq), iter(gt), lq=iter(pairs[0].lq), metrics=names, crop_px=4)
    assert found["psnr_y_db"].tolist() == psnr_y(gt, hq, crop_px=4).tolist()
    assert found["ssim_y"].tolist() == ssim(gt, hq, crop_px=4).tolist()
    assert found["vmaf_neg"].tolist() == vmaf(gt, hq, crop_px=4).tolist()
    assert math.isnan(found["warping_error_x1e3"][0])
    assert found["warping_error_x1e3"][1:].tolist() == clip_warping_error(hq, gt, crop_px=4).tolist()
    assert found["detail_share"].tolist() == detail_share(gt, hq, crop_px=4).tolist()
    assert found["detail_correlation"].tolist() == detail_correlation(gt, hq, crop_px=4).tolist()
    large = nearest(nearest(pairs[0].lq))
    assert measure(large, metrics=["weave"], crop_px=4)["weave"].tolist() == weave(large, crop_px=4).tolist()


@NEEDS_VMAF
@pytest.mark.parametrize("name", PER_FRAME)
def test_values_are_those_that_were_recorded(name):
    """Recorded before metrics were objects; only the optical flow and libvmaf differ a little between processors."""
    gt = make_reference(4, 104, 120)
    found = measure(DISTORTIONS[name](gt), gt, metrics=list(PER_FRAME[name]), crop_px=8)
    loose = {"warping_error_x1e3": 2e-2, "vmaf_neg": 1e-3}
    for metric, values in PER_FRAME[name].items():
        known = found[metric][~np.isnan(found[metric])]
        assert known.tolist() == pytest.approx(values, rel=loose.get(metric, 1e-6), abs=1e-6), metric


def test_clips_are_read_once_and_not_kept():
    """However long the clip and however many metrics: at most a few frames of each kind are alive."""
    alive, counts = set(), []

    class Long:
        def __init__(self, seed):
            self.seed, self.opened = seed, 0

        def __iter__(self):
            self.opened += 1
            rng = np.random.default_rng(self.seed)
            for number in range(24):
                frame = rng.integers(0, 255, (64, 64, 3), np.uint8)
                alive.add((self.seed, number))
                weakref.finalize(frame, alive.discard, (self.seed, number))
                counts.append(len(alive))
                yield frame
                del frame

    gt, lq = Long(0), Long(0)
    metrics = [*FIDELITY, "warping_error_x1e3", "detail_share", *(["vmaf_neg"] if has_vmaf() else [])]
    table = evaluate([ClipPair("long", "g", lq, gt)], {"same": lambda frames: frames}, metrics=metrics, crop_px=0)
    assert len(table.scores[0].frames["psnr_y_db"]) == 24 and gt.opened == 1 and lq.opened == 1
    assert max(counts) <= 10


def test_files_hold_every_frame_and_infinite_values_become_null(pairs, tmp_path):
    gt = {pair.name: pair.gt for pair in pairs}
    table = evaluate(pairs[:1], {"oracle": by_clip(lambda lq: gt["a"])}, metrics=[*FIDELITY, "warping_error_x1e3"])
    table.save(tmp_path / "new", "scores")
    told = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert told["means"]["light"]["oracle"]["psnr_y_db"] is None
    assert told["means"]["light"]["oracle"]["ssim_y"] == 1
    assert told["protocol"]["crop_px"] == 8 and "DIS" in told["protocol"]["flow"]
    assert told["scores"][0]["frames"]["ssim_y"] == [1, 1, 1]
    assert told["scores"][0]["frames"]["warping_error_x1e3"][0] is None
    assert "oracle" in (tmp_path / "new" / "scores.md").read_text()
    with (tmp_path / "new" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["0", "1", "2"] and rows[0]["clip"] == "a"
    assert rows[0]["warping_error_x1e3"] == ""
    assert float(rows[1]["warping_error_x1e3"]) == told["scores"][0]["frames"]["warping_error_x1e3"][1]


def test_the_worst_frames_are_named_by_direction(pairs, tmp_path):
    gt = pairs[0].gt

    def spoil(lq):
        hq = gt.copy()
        hq[1] = 255 - hq[1]
        hq[2, 20:40] += 3
        return hq

    table = evaluate(pairs[:1], {"spoilt": by_clip(spoil)}, metrics=[*FIDELITY, "warping_error_x1e3", "detail_share"])
    assert [w.frame for w in table.worst("spoilt", "ssim_y")] == [1, 2, 0]
    assert [w.frame for w in table.worst("spoilt", "psnr_y_db", 1)] == [1]
    assert {w.frame for w in table.worst("spoilt", "warping_error_x1e3")} == {1, 2}  # the first frame has no pair
    worst = table.worst("spoilt", "ssim_y")[0]
    assert f"| spoilt | ssim_y | light | a | 1 | {worst.value:.4f} |" in table.to_markdown(clips=True)
    with pytest.raises(OptionError, match="not measured"):
        table.worst("spoilt", "vmaf_neg")


def test_a_value_beyond_its_best_is_bad_too():
    share = next(metric for metric in METRICS if metric.name == "detail_share")
    assert share.loss(1.5) == share.loss(0.5) > share.loss(1.1) > share.loss(1.0)


@NEEDS_VMAF
def test_the_default_metrics_run(pairs):
    table = evaluate(pairs[:1], {"nearest": by_clip(nearest)})
    assert list(table.scores[0].values) == [metric.name for metric in DEFAULT_METRICS]
    assert all(math.isfinite(value) for value in table.scores[0].values.values())


def test_a_metric_of_ones_own_is_one_object(pairs):
    """A whole clip's value stands at its last frame; needs are given and nothing else."""
    seen = []

    def largest_change(frames, *, device):
        before = largest = None
        for index, frame in enumerate(frames):
            seen.append((frame.ground_truth is not None, frame.lq.shape, frame.flow_pair))
            largest = max(largest or 0, 0 if before is None else float(np.abs(frame.hq.astype(int) - before).max()))
            before = frame.hq.astype(int)
            yield float("nan") if index < 2 else largest

    own = Metric(
        name="largest_change", unit="levels", higher_is_better=False, needs=frozenset({"lq"}),
        protocol="largest change between neighbouring frames", compute=largest_change,
    )  # fmt: skip
    table = evaluate(pairs[:1], {"nearest": by_clip(nearest)}, metrics=[own, "psnr_y_db"])
    expected = np.abs(np.diff(pairs[0].lq[:, 2:-2, 2:-2].astype(int), axis=0)).max()
    assert table.mean("nearest")["largest_change"] == expected
    assert table.protocol["metrics"]["largest_change"] == own.protocol
    assert seen[0] == (True, (12, 16, 3), None)
    with pytest.raises(OptionError, match="multiple of the scale"):
        evaluate(pairs[:1], {"nearest": by_clip(nearest)}, metrics=[own], crop_px=6)


def test_without_a_ground_truth_the_flow_is_that_of_the_enlarged_input(pairs):
    pair = ClipPair("real", "g", pairs[0].lq)
    table = evaluate([pair], {"nearest": by_clip(nearest)}, metrics=["warping_error_x1e3"])
    assert 0 < table.mean("nearest")["warping_error_x1e3"] < 20
    with pytest.raises(OptionError, match="psnr_y_db needs a ground truth and real has none"):
        evaluate([pair], {"nearest": by_clip(nearest)}, metrics=["psnr_y_db"])
    with pytest.raises(OptionError, match="a ground truth or the input"):
        measure(nearest(pairs[0].lq), metrics=["warping_error_x1e3"])


def test_a_clip_without_a_value_is_left_out_of_the_mean(pairs):
    single = ClipPair("one frame", "light", pairs[0].lq[:1], pairs[0].gt[:1])
    table = evaluate([pairs[0], single], {"nearest": by_clip(nearest)}, metrics=["warping_error_x1e3"])
    assert math.isnan(table.scores[1].values["warping_error_x1e3"])
    assert table.mean("nearest")["warping_error_x1e3"] == table.scores[0].values["warping_error_x1e3"]


@pytest.mark.parametrize("metrics", [["ssim_y"], FIDELITY, [*FIDELITY, "detail_share"]])
def test_errors_of_metrics_and_of_methods_end_the_evaluation(pairs, metrics):
    small = ClipPair("small", "g", pairs[0].lq[:, :2, :2], pairs[0].gt[:, :8, :8])
    with pytest.raises(OptionError, match="11 px"):
        evaluate([small], {"nearest": by_clip(nearest)}, metrics=metrics, crop_px=0)

    def broken(frames):
        yield nearest(next(frames)[None])[0]
        raise RuntimeError("the method failed")

    with pytest.raises(RuntimeError, match="the method failed"):
        evaluate(pairs[:1], {"broken": broken}, metrics=metrics)


def test_a_metric_must_give_a_value_for_each_frame(pairs):
    short = Metric(
        name="short", unit="", higher_is_better=True, needs=frozenset(), protocol="",
        compute=lambda frames, *, device: iter([1.0 for _ in frames][1:]),
    )  # fmt: skip
    for metrics in ([short], [short, "ssim_y"]):
        with pytest.raises(OptionError, match="short gave 2 values for 3 frames"):
            evaluate(pairs[:1], {"nearest": by_clip(nearest)}, metrics=metrics)
    assert per_frame(lambda frame: 2.0)(iter([None, None]), device="cpu").__next__() == 2.0


def test_wrong_requests_are_refused(pairs):
    methods = {"nearest": by_clip(nearest)}
    with pytest.raises(OptionError, match="unknown metric"):
        evaluate(pairs, methods, metrics=["psnr"])
    with pytest.raises(OptionError, match="asked for twice"):
        evaluate(pairs, methods, metrics=["ssim_y", "ssim_y"])
    with pytest.raises(OptionError, match="check its scale"):
        evaluate(pairs, {"same": by_clip(lambda lq: lq)}, metrics=FIDELITY)
    for cut, word in ((slice(2), "fewer"), (slice(None), "more")):
        pair = pairs[0] if word == "fewer" else ClipPair("a", "g", pairs[0].lq, pairs[0].gt[:2])
        with pytest.raises(OptionError, match=f"made {word} frames of a"):
            evaluate([pair], {"cut": by_clip(lambda lq, cut=cut: nearest(lq)[cut])}, metrics=FIDELITY)
    with pytest.raises(OptionError, match="leaves nothing"):
        evaluate(pairs, methods, metrics=FIDELITY, crop_px=40)
    with pytest.raises(OptionError, match="no score"):
        evaluate([], {}, metrics=FIDELITY).mean("nearest")
