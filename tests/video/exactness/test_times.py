"""As many frames come out as went in, the right ones, at the right times."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from starvsr.errors import UnreadableInputError
from tests.video.exactness.clips import write_clip
from tests.video.exactness.edit_lists import EMPTY, set_edits
from tests.video.exactness.facts import Shown, moving_picture, shown_by_ffmpeg, shown_by_pyav
from tests.video.exactness.properties import holds, identity
from tests.video.exactness.strategies import Case, Target, edited_cases, timed_cases, unruly_cases

MOVIE_TICK = Fraction(1, 90000)  # of the inputs' edit lists


@holds("frames and times, any container, rate and pattern", timed_cases(), few=12, many=200)
def test_every_frame_keeps_its_time(case: Case, folder: Path) -> None:
    """Times are exact in MP4 and MOV and rounded to the millisecond in Matroska and WebM."""
    source = write_clip(folder, case.clip)
    before = shown_by_pyav(source)
    assert len(before.times) == len(case.clip.pts)
    if case.clip.suffix == ".ts":  # its clock starts anywhere
        before = replace(before, times=tuple(time - before.times[0] for time in before.times))
    _check(source, folder, case.target, before)
    if "constant" in case.extra:
        assert _nominal_rate(folder / case.target.name) == _nominal_rate(source)


@holds("times that repeat or go back", unruly_cases(), few=6, many=100)
def test_times_that_do_not_increase_move_as_little_as_possible(case: Case, folder: Path) -> None:
    """A time that does not increase becomes the one before and a tick of the input; the others stay."""
    source = write_clip(folder, case.clip)
    before = shown_by_pyav(source)
    assert len(before.times) == len(case.clip.pts)
    times: list[Fraction] = []
    for time in before.times:
        times.append(time if not times or time > times[-1] else times[-1] + before.tick)
    notes = _check(source, folder, case.target, replace(before, times=tuple(times)))
    assert any("do not increase" in note for note in notes) == (tuple(times) != before.times)


@holds("edit lists and hidden frames", edited_cases(), few=8, many=120)
def test_edit_lists_are_followed(case: Case, folder: Path) -> None:
    """What an edit list hides stays hidden, what it shows keeps its time."""
    extra, clip = case.extra, case.clip
    if extra["edit"] == "negative start":
        clip = replace(clip, pts=tuple(time - extra["first"] * extra["step"] for time in clip.pts))
    source = write_clip(folder, clip)
    if extra["edit"] != "negative start":
        set_edits(source, _edits(case))
    before = shown_by_pyav(source)
    if before.times:
        _check(source, folder, case.target, before)
        return
    with pytest.raises(UnreadableInputError, match="no frame"):
        identity(source, folder / case.target.name)


def _edits(case: Case) -> list[tuple[int, int]]:
    extra, clip = case.extra, case.clip
    whole = clip.pts[-1] + extra["step"]

    def movie(ticks: int) -> int:
        return round(ticks * clip.time_base / MOVIE_TICK)

    shift = _first_composition_time(case)
    first, second = clip.pts[extra["first"]], clip.pts[extra["second"]]
    rest = (movie(whole - first), first + shift)
    return {
        "delay": [(extra["delay"], EMPTY), (movie(whole), shift)],
        "skip": [rest],
        "skip and delay": [(extra["delay"], EMPTY), rest],
        "hole": [(movie(first), shift), (movie(whole - second), second + shift)],
        "end": [(movie(first), shift)],
    }[extra["edit"]]


def _first_composition_time(case: Case) -> int:
    """B-frames are shown later than they are decoded, by what the edit list of the muxer takes off."""
    return 2 * case.extra["step"] if case.clip.bframes else 0


def _check(source: Path, folder: Path, target: Target, before: Shown) -> tuple[str, ...]:
    out = folder / target.name
    result = identity(source, out, **target.arguments)
    assert result.num_frames == len(before.times)
    for after in (shown_by_pyav(out), shown_by_ffmpeg(out, folder)):
        assert after.numbers == before.numbers
        worst = max(abs(a - b) for a, b in zip(after.times, before.times, strict=True))
        assert worst <= target.rounding, f"{float(worst)} s"
    return result.notes


def _nominal_rate(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        return Fraction(moving_picture(container).guessed_rate)
