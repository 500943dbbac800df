"""The player of a report: both halves of its video at the frame that was asked for, wiped, side by side and at 1:1."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starvsr.evaluation.page.document import make_page
from starvsr.evaluation.previews import Preview
from starvsr.evaluation.record import ClipScore, Report
from starvsr.metrics.metric import MetricFacts
from tests.support.chromium import started_chromium
from tests.video.clips import make_clip

NUM_FRAMES, SIZE = 20, (64, 48)
SHOWN = """() => { const player = document.querySelector("starvsr-player"), canvas = player.canvas;
  if (!player.source.isReady) return null;
  return player.panes(canvas.width, canvas.height).map(([, x, y, width, height, from = x, to = x + width]) =>
    [...canvas.getContext("2d").getImageData((from + to) / 2, y + height / 2, 1, 1).data].slice(0, 3)); }"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose result is grey and brighter with each frame, and whose reference is as much darker."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "previews").mkdir()
    frames = np.zeros((NUM_FRAMES, 2 * SIZE[1], SIZE[0], 3), np.uint8)
    level = 10 * np.arange(NUM_FRAMES, dtype=np.uint8)[:, None, None, None]
    frames[:, : SIZE[1]], frames[:, SIZE[1] :] = 30 + level, 230 - level
    make_clip(folder / "previews" / "one.mp4", frames, rate=Fraction(10))
    metric = MetricFacts(name="psnr", unit="dB", higher_is_better=True, protocol="a protocol", digits=1)
    score = ClipScore("set", "one", "ours", {"psnr": [20.0 + i for i in range(NUM_FRAMES)]}, NUM_FRAMES)
    preview = Preview("one.mp4", *SIZE, False, "reference", Fraction(10), NUM_FRAMES)
    page = make_page(Report([metric], [score]), previews={("ours", "one"): preview})
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def test_both_halves_in_step(report: Path) -> None:
    with started_chromium() as browser:
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(report.as_uri())

        def shows(frame: int, sides: int = 2) -> None:
            wanted = [30 + 10 * frame, 230 - 10 * frame][:sides]
            near = "([found, wanted]) => found?.every((rgb, i) => Math.abs(rgb[1] - wanted[i]) < 5)"
            page.wait_for_function(f"wanted => ({near})([({SHOWN})(), wanted])", arg=wanted, timeout=60_000)
            assert f"frame {frame} / {NUM_FRAMES - 1}" in page.inner_text("starvsr-player output")
            assert f"{20 + frame}.0" in page.inner_text("#p-values")

        stage = page.locator("starvsr-player .stage")
        shows(0)
        for key, frame in (("ArrowRight", 1), ("End", 19), ("ArrowLeft", 18)):
            stage.press(key)
            shows(frame)
        stage.press("v")
        shows(18)
        stage.press("z")
        assert page.evaluate("document.querySelector('starvsr-player').scale") == 1
        stage.press("Home")
        shows(0)
        page.locator("svg[data-clip]").first.click(position={"x": 1, "y": 1})
        shows(0)
        stage.press("Space")
        page.wait_for_function("document.querySelector('starvsr-player').frame > 2", timeout=60_000)
        assert complaints == []


def test_pages_without_clips_have_no_player(report: Path) -> None:
    text: Any = make_page(Report([], []))
    assert "<starvsr-player" not in text and "<starvsr-player" in report.read_text(encoding="utf-8")
