"""Target sizes: the aspect is kept, the model's factor is the limit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import starvsr
from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions
from starvsr.jobs.outputs import check_enlargement, size_of
from starvsr.video import probe
from starvsr.video.info import VideoInfo
from tests.apps.commands import write_clip


def _info(width: int, height: int, aspect: str = "1") -> VideoInfo:
    base = Fraction(1, 25)
    return VideoInfo(
        Path("a.mp4"), "video", "mov", "h264", width, height, width, height, 1 / base, base, "yuv420p",
        sample_aspect_ratio=Fraction(aspect),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("info", "asked", "video", "image"),
    [
        (_info(640, 360), {"height": 1080}, (1920, 1080), (1920, 1080)),
        (_info(360, 640), {"fit": "1920x1080"}, (608, 1080), (608, 1080)),  # upright video of a phone
        (_info(853, 480), {"height": 1080}, (1920, 1080), (1919, 1080)),
        (_info(90, 50), {"width": 201}, (201, 112), (201, 112)),
        (_info(90, 50), {"fit": "300x131"}, (236, 130), (236, 131)),
        (_info(720, 480, "32/27"), {"fit": "1920x1080"}, (1620, 1080), (1620, 1080)),  # shown as 1920x1080
        (_info(720, 480, "32/27"), {"width": 1280}, (1080, 720), (1080, 720)),
        (_info(720, 480, "32/27"), {"height": 960}, (1440, 960), (1440, 960)),
        (_info(1920, 1080), {"height": 540}, (960, 540), (960, 540)),
    ],
)
def test_sizes(info: VideoInfo, asked: dict, video: tuple[int, int], image: tuple[int, int]) -> None:
    options = UpscaleOptions(**asked)
    assert size_of(info, Path("o.mp4"), options) == video
    assert size_of(info, Path("folder"), options) == image


@pytest.mark.parametrize(
    ("asked", "possible"),
    [({"height": 1441}, "--height 1440"), ({"width": 4000}, "--width 2560"), ({"fit": "4000x3000"}, "--fit 2560x1440")],
)
def test_more_than_the_model_makes_is_refused_with_what_is_possible(asked: dict, possible: str) -> None:
    with pytest.raises(OptionError, match=f"enlarges 4 times at most: give {possible} or less"):
        check_enlargement(_info(640, 360), UpscaleOptions(**asked), "star-small", 4)
    word, value = possible.split()
    most = UpscaleOptions(**{word[2:]: value})
    check_enlargement(_info(640, 360), most, "star-small", 4)


@pytest.mark.parametrize(
    "asked",
    [{"height": 90, "width": 90}, {"height": 90, "scale": 2}, {"fit": "9x9", "width": 9}, {"fit": "90"}, {"height": 1}],
)
def test_contradictions_and_nonsense_are_refused(asked: dict) -> None:
    with pytest.raises(OptionError):
        UpscaleOptions(**asked)


def test_the_output_has_the_size_and_the_job_goes_on_with_it(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4")  # 24x16
    result = starvsr.upscale(source, tmp_path / "b.mkv", model="bicubic", height=40, threads=1)
    assert (result.width, result.height) == (60, 40)
    info = probe(tmp_path / "b.mkv")
    assert (info.width, info.height) == (60, 40)
    assert result.provenance["scale"] == 2.5 and result.provenance["options"]["height"] == 40
    smaller = starvsr.upscale(source, tmp_path / "c.mkv", model="bicubic", fit="12x12", threads=1)
    assert (smaller.width, smaller.height) == (12, 8)
    assert any("smaller than the input" in note for note in smaller.notes)
    assert replace(UpscaleOptions(height=40)).as_flags() == ["--height", "40"]
