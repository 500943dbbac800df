"""What a result adds is found where it was put, and borders that are known are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.errors import InputError
from starvsr.evaluation.illustrated import write_report
from starvsr.evaluation.record import read_report
from starvsr.evaluation.regions import KINDS
from starvsr.evaluation.result_survey import Borders
from starvsr.evaluation.run import EvaluationOptions, evaluate_results
from tests.evaluation.made_clips import film, moving

METRICS = ["added_detail_lq", "seam_steps_lq", "seam_lines_lq", "consistency_lq_db"]


def _enlarged(lq: np.ndarray, scale: int = 4) -> np.ndarray:
    size = (lq.shape[2] * scale, lq.shape[1] * scale)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in lq]).astype(int)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    lq = moving(20, 48, 64)
    hq = _enlarged(lq).clip(30, 225)
    pattern = 9 * (np.indices((64, 128)).sum(0) % 2 * 2 - 1)[..., None]
    hq[:, 64:128, :128] += pattern  # left, second and third row of cells of 16 px
    hq[:, :, 129:] += 12
    hq[10:] -= 5
    film(folder / "out.mkv", hq.clip(0, 255).astype(np.uint8))
    film(folder / "in.mkv", lq)
    return evaluate_results(
        [("ours", folder / "out.mkv")],
        lq=folder / "in.mkv",
        borders=Borders((10, 15), 0, (129, 200), (), "two segments"),
        options=EvaluationOptions(metrics=METRICS),
    )


def test_the_map_shows_where_detail_was_added(evaluation):
    (score,) = evaluation.report.scores
    added = np.array(score.survey["added"])
    assert added.shape == (3, 4) and score.survey["frames"] == 20
    assert added[1, :2] == pytest.approx(9, abs=1.0)
    assert np.delete(added.ravel(), [4, 5]).max() < 4
    total = sum(kind["share"] for kind in score.survey["kinds"].values())
    assert list(score.survey["kinds"]) == list(KINDS) and total == pytest.approx(1, abs=1e-3)


def test_borders_that_show_are_told_from_those_that_do_not(evaluation):
    (score,) = evaluation.report.scores
    columns = dict(score.survey["borders"]["columns"])
    assert columns[129] > 2 > 1.5 > columns[200]
    steps = score.frames["seam_steps_lq"]
    assert steps[10] > 2 > 1.5 > steps[15]


def test_the_page_and_the_record_hold_it(evaluation, tmp_path: Path):
    out = tmp_path / "report"
    write_report(evaluation, out, previews=False, title="Report: <out>", links={"result": tmp_path / "a b.mp4"})
    page = (out / "index.html").read_text()
    assert "Report: &lt;out&gt;" in page and 'href="../a%20b.mp4"' in page
    for words in ("What was added, and where", "Borders of segments: 2 in all, 1 stand out", "of tiles: 2 in all, 1"):
        assert words in page
    assert page.count("data:image/jpeg") >= 2
    again = read_report(out)
    assert again.scores[0].survey == evaluation.report.scores[0].survey


def test_sizes_that_were_rounded_are_taken_and_others_refused(tmp_path: Path):
    lq = moving(3, 45, 64)
    film(tmp_path / "in.mkv", lq)
    for size, is_taken in (((96, 68), True), ((96, 60), False)):
        frames = np.stack([np.asarray(Image.fromarray(one).resize(size)) for one in lq])
        film(tmp_path / "out.mkv", frames)
        arguments = {"lq": tmp_path / "in.mkv", "options": EvaluationOptions(metrics=["added_detail_lq"])}
        if is_taken:
            found = evaluate_results([("ours", tmp_path / "out.mkv")], **arguments)
            assert found.report.scores[0].survey["frames"] == 3
            continue
        with pytest.raises(InputError, match="has another shape"):
            evaluate_results([("ours", tmp_path / "out.mkv")], **arguments)


def test_with_a_reference_there_is_no_survey(tmp_path: Path):
    lq = moving(3, 32, 32)
    film(tmp_path / "in.mkv", lq)
    film(tmp_path / "out.mkv", _enlarged(lq, 2).astype(np.uint8))
    film(tmp_path / "gt.mkv", (_enlarged(lq, 2) * 0.9).astype(np.uint8))
    options = EvaluationOptions(metrics=["psnr_y_db", "added_detail_lq"])
    found = evaluate_results(
        [("ours", tmp_path / "out.mkv")], reference=tmp_path / "gt.mkv", lq=tmp_path / "in.mkv", options=options
    )
    assert found.surveys == {} and found.report.scores[0].survey == {}
