"""The page's plots and frames: nothing is lost, nothing is drawn where there is nothing."""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from starvsr.evaluation.page.document import make_page
from starvsr.evaluation.page.plots import distribution, line_plot
from starvsr.evaluation.record import ClipScore, Report
from starvsr.evaluation.shown_frames import ShownFrame, choose_frames
from starvsr.metrics.metric import MetricFacts

METRIC = MetricFacts(name="psnr", unit="dB", higher_is_better=True, protocol="a protocol")


def score(values: list[float], method: str = "ours", clip: str = "one") -> ClipScore:
    return ClipScore("set", clip, method, {"psnr": values}, len(values))


def points(plot: str) -> list[tuple[str, float, float]]:
    path = re.search(r' d="([^"]*)"', plot)
    assert path is not None
    return [(pen, float(x), float(y)) for pen, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", path[1])]


def test_a_line_has_a_point_for_each_frame_and_breaks_where_one_has_no_value() -> None:
    drawn = points(line_plot(METRIC, [score([1.0, 2.0, math.nan, 3.0])], {"ours": 0}))
    assert [(pen, x) for pen, x, _ in drawn] == [("M", 0), ("L", 333.3), ("M", 1000)]
    assert drawn[0][2] > drawn[1][2] > drawn[2][2]  # larger values are higher up


@pytest.mark.parametrize("count", [16, 6000])
def test_a_line_of_every_fourth_frame_is_whole(count: int) -> None:
    values = [math.nan if index % 4 else float(index) for index in range(count)]
    drawn = points(line_plot(METRIC, [score(values)], {"ours": 0}))
    assert [pen for pen, *_ in drawn] == ["M"] + ["L"] * (len(drawn) - 1)
    assert len(drawn) == min(count // 4, 500) and drawn[-1][1] == round(1000 * (count - 4) / (count - 1), 1)


def test_a_value_alone_is_a_dot() -> None:
    plot = line_plot(METRIC, [score([1.0, 2.0, math.nan, 3.0, math.nan])], {"ours": 0})
    assert re.search(r'L[\d.]+ [\d.]+M750.0 [\d.]+h0"', plot)


def test_a_gap_in_a_long_clip_is_a_gap() -> None:
    values = [math.nan if 2000 <= index < 2007 else 1.0 + index for index in range(5000)]
    drawn = points(line_plot(METRIC, [score(values)], {"ours": 0}))
    assert sum(pen == "M" for pen, *_ in drawn) == 2


def test_of_long_clips_no_peak_is_lost() -> None:
    values = [10.0] * 5000
    values[3217] = 99.0
    drawn = points(line_plot(METRIC, [score(values)], {"ours": 0}))
    assert len(drawn) <= 500
    assert min(drawn, key=lambda point: point[2])[1] == round(1000 * 3217 / 4999, 1)


def test_what_has_no_values_of_frames_is_not_drawn() -> None:
    for values in ([math.nan, 4.0], [math.inf, math.inf], [], [2.0]):
        assert line_plot(METRIC, [score(values)], {"ours": 0}) == ""
    report = Report([METRIC], [score([math.inf, math.inf])])
    assert distribution(METRIC, report, {"ours": 0}) == ""


def test_a_distribution_shows_quantiles_and_means_of_clips() -> None:
    values = np.random.default_rng(0).uniform(0, 100, 400)
    report = Report([METRIC], [score(values[:200].tolist()), score(values[200:].tolist(), clip="two")])
    svg = re.search(r"<svg.*?</svg>", distribution(METRIC, report, {"ours": 0}), re.S)
    assert svg is not None
    tree = ET.fromstring(svg[0])
    low, high = values.min() - 0.06 * np.ptp(values), values.max() + 0.06 * np.ptp(values)

    def at(element: ET.Element, name: str = "x1") -> float:
        return low + float(element.attrib[name]) / 1000 * (high - low)

    kinds = {kind: [e for e in tree if e.get("class") == kind] for kind in ("whisker", "median", "tick")}
    assert abs(at(kinds["median"][0]) - np.median(values)) < 0.1
    assert abs(at(kinds["whisker"][0], "x2") - np.quantile(values, 0.95)) < 0.1
    assert sorted(round(at(e)) for e in kinds["tick"]) == sorted(
        round(values[s].mean()) for s in (np.s_[:200], np.s_[200:])
    )


def test_worst_frames_are_apart_and_each_frame_is_shown_once() -> None:
    values = [30.0] * 100
    values[40], values[41], values[90], values[5] = 10.0, 11.0, 12.0, 50.0
    found = {(f.frame, tuple(f.reasons)) for f in choose_frames(Report([METRIC], [score(values)]))}
    assert found == {
        (40, ("worst psnr: 10.000",)),
        (90, ("worst psnr: 12.000",)),
        (5, ("best psnr: 50.000",)),
    }
    assert choose_frames(Report([METRIC], [score([5.0, 5.0])])) == []


def test_the_detail_is_where_result_and_reference_differ() -> None:
    gt = np.full((300, 400, 3), 90, np.uint8)
    hq = gt.copy()
    hq[200:210, 330:340] = 250
    frame = ShownFrame("ours", "one", "set", 0)
    frame.draw(hq, gt, "reference")
    (_, result), (name, _) = frame.details
    pixels = np.asarray(Image.open(io.BytesIO(result)))
    assert pixels.shape == (144, 144, 3) and pixels.max() > 200 and name == "reference"


def test_a_page_without_previews_has_no_player_and_says_what_one_clip_lacks() -> None:
    page = make_page(Report([METRIC], [score([1.0, 2.0])]))
    assert "Over time" in page and "A click shows" not in page
    assert "<h2>Player</h2>" not in page and "One clip has no interval" in page and "Paired" not in page


def test_a_warning_names_the_methods_where_it_is_not_of_all() -> None:
    scores = [score([1.0, 2.0], method) for method in ("a", "b", "c")]
    for one in scores:
        one.warnings.append("one: HDR on both sides")
    for one in scores[:2]:
        one.warnings.append("one: shifted by 0.3 px")
    report = Report([METRIC], scores)
    assert report.warnings() == ["one: HDR on both sides", "one: shifted by 0.3 px (a, b)"]
    assert Report([METRIC], scores[:1]).warnings() == ["one: HDR on both sides", "one: shifted by 0.3 px"]


def test_a_shift_that_rounds_to_zero_has_no_minus() -> None:
    one = score([1.0, 2.0])
    one.alignment.update({"shift_px": [-0.04, -1.26], "shift_error_px": [0.02, 0.12]})
    assert "<td>+0.0, -1.3 (\N{PLUS-MINUS SIGN}0.1)</td>" in make_page(Report([METRIC], [one]))
