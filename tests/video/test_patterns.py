from __future__ import annotations

from pathlib import Path

import pytest

from starvsr.video.patterns import is_pattern, matching_files, numbered_name, pattern_head, pattern_matcher
from starvsr.video.read.images import sequence_numbers


@pytest.mark.parametrize("name", ["f_%05d.png", "%d.JPG", "100%%_%3d.tif", "a%04db.webp"])
def test_what_is_a_pattern(name: str, tmp_path: Path) -> None:
    assert is_pattern(tmp_path / name)
    (tmp_path / name).write_bytes(b"x")  # a file of that very name is that file
    assert not is_pattern(tmp_path / name)


@pytest.mark.parametrize("name", ["50%discount.mp4", "50%discount", "f_%05d", "100%.png", "%d_%d.png", "100%%d.png"])
def test_what_is_none(name: str, tmp_path: Path) -> None:
    assert not is_pattern(tmp_path / name)


def test_names_are_those_of_ffmpeg() -> None:
    assert numbered_name("f_%05d.png", 7) == "f_00007.png"
    assert numbered_name("f_%5d.png", 7) == "f_00007.png"  # FFmpeg fills with zeros either way
    assert numbered_name("100%%_%d.png", 12) == "100%_12.png"
    assert pattern_head("100%%_%d.png") == "100%" and pattern_head("%d.png") == "frames"


def test_matching_takes_more_digits_but_not_fewer(tmp_path: Path) -> None:
    for name in ("a%_001.png", "a%_0100.png", "a%_01.png", "a%_1000.png", "b_001.png", "a%_xyz.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a%_777.png").mkdir()
    assert list(matching_files(tmp_path / "a%%_%03d.png")) == [1, 100, 1000]
    assert matching_files(tmp_path / "none" / "f_%d.png") == {}
    assert pattern_matcher("x.%d.png").fullmatch("xy1.png") is None


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["f_1.png", "f_2.png", "f_10.png"], [1, 2, 10]),
        (["cam2_01.png", "cam2_03.PNG"], [1, 3]),
        (["a.png", "b.png"], None),
        (["f_1.png", "g_2.png"], None),
        (["f_1.png", "f_2.jpg"], None),
        (["1_1.png", "2_2.png"], None),
        (["1.png", "01.png"], None),
        (["f_1.png"], None),
    ],
)
def test_a_sequence_differs_in_one_number(names: list[str], numbers: list[int] | None) -> None:
    assert sequence_numbers([Path(name) for name in names]) == numbers
