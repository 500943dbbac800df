"""Options: checked, final types, refused with the flag's name, turned into flags and back."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions, option_infos, options_from
from starvsr.options import flag_name
from starvsr.quantities import format_size, format_time, parse_interval, parse_size, parse_time


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, Fraction(0)),
        ("90.5", Fraction(181, 2)),
        (0.1, Fraction(1, 10)),
        ("1:30", Fraction(90)),
        ("1:02:03.25", Fraction(14893, 4)),
        (Fraction(1, 3), Fraction(1, 3)),
        ("1001/24000", Fraction(1001, 24000)),
    ],
)
def test_times_are_exact(value: Any, seconds: Fraction) -> None:
    assert parse_time(value) == seconds
    assert UpscaleOptions(start=value).start == seconds


@pytest.mark.parametrize("value", ["", "soon", "-1", -1, "1:2:3:4", "1/0", True, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="--start"):
        UpscaleOptions(start=value)


@pytest.mark.parametrize(
    ("value", "size"), [("1GB", 2**30), ("1.5g", 3 * 2**29), ("800MB", 800 * 2**20), ("512 KiB", 2**19), (7, 7)]
)
def test_sizes(value: Any, size: int) -> None:
    assert parse_size(value) == size


def test_intervals() -> None:
    assert parse_interval("300:700") == (300, 700)
    options = UpscaleOptions(guidance_interval=" 300:0700 ")
    assert options.guidance_interval == "300:700"
    assert options.as_flags() == ["--guidance-interval", "300:700"]


@pytest.mark.parametrize("value", ["", "300", "700:300", "-1:5", "0.5:3", "0:1000", ":", "a:b", 300])
def test_intervals_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="--guidance-interval"):
        UpscaleOptions(guidance_interval=value)


def test_words_for_sizes_and_times() -> None:
    assert [format_size(n) for n in (12, 812 * 2**20, int(1.4 * 2**30))] == ["12 B", "812 MB", "1.4 GB"]
    assert [format_time(s) for s in (5, 65, 3665)] == ["0:05", "1:05", "1:01:05"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("scale", 4.5, "at most 4"),
        ("scale", 0.5, "at least 1"),
        ("scale", "big", "a number"),
        ("scale", float("nan"), "a number"),
        ("steps", 0, "at least 1"),
        ("steps", 1.5, "a whole number"),
        ("steps", True, "a whole number"),
        ("seed", -1, "at least 0"),
        ("segment", "few", "a whole number or auto"),
        ("tile", 8, "at least 16 px"),
        ("tile", "on", "auto, off"),
        ("memory", "lots", "800MB"),
        ("memory", 0, "more than zero"),
        ("color", "red", "none, adain, wavelet"),
        ("crf", 64, "at most 63"),
        ("frame_rate", "1/0", "frames per second"),
        ("compare", "yes", "True or False"),
        ("model", 3, "give text"),
        ("model", None, "leave it out"),
    ],
)
def test_wrong_values_name_the_flag_and_what_is_right(name: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError, match=f"^{flag_name(name)} ") as caught:
        UpscaleOptions(**{name: value})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"duration": 0},
        {"overlap": 1, "crossfade": 3},
        {"tile": 32, "tile_overlap": 16},
        {"tile": "off", "tile_overlap": 8},
    ],
)
def test_contradictions_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="--"):
        UpscaleOptions(**values)


def test_text_numbers_become_numbers() -> None:
    options = UpscaleOptions(scale="2.5", steps="4", tile="128", frame_rate="24000/1001")  # type: ignore[arg-type]
    assert (options.scale, options.steps, options.tile) == (2.5, 4, 128)
    assert options.frame_rate == Fraction(24000, 1001)


def test_every_option_has_help_and_a_group() -> None:
    for name, info in option_infos():
        assert info.help.endswith((".", ")")), name
        assert info.group, name


def test_changed_options_become_flags() -> None:
    options = UpscaleOptions(scale=2, scene_cuts=False, compare=True, start="1:30")  # type: ignore[arg-type]
    assert options.as_flags() == ["--scale", "2", "--start", "90", "--no-scene-cuts", "--compare"]
    assert UpscaleOptions().as_flags() == []


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean scale"):
        options_from({"scael": 2})
