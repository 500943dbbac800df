"""`starvsr tune`: estimates from runs of two lengths, trials that are undisturbed and whose failures are told."""

from __future__ import annotations

import json
import shlex
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from starvsr.apps.cli import main
from starvsr.apps.tuning.estimate import Timing
from starvsr.apps.tuning.run import candidates, choose_part
from starvsr.apps.tuning.trial import Lengths, choose_lengths
from starvsr.errors import OptionError
from starvsr.video import probe
from tests.apps.commands import write_clip


def test_what_a_frame_takes_is_told_from_what_a_run_takes() -> None:
    """A run of n frames that takes 3 + 0.5 n seconds, after 2 s of loading."""
    timing = Timing(2.0, (4, 5.0), (16, 11.0))
    assert timing.seconds_per_frame == 0.5 and timing.fixed_seconds == 3 and timing.whole(100) == 55
    noisy = Timing(0.0, (4, 5.0), (16, 4.0))
    assert noisy.seconds_per_frame == 0 and noisy.whole(100) == 4
    assert Timing(1.0, (8, 4.0), (8, 4.0)).whole(16) == 9  # a clip with no two lengths


def test_the_middle_is_tried_and_never_more_than_there_is(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", num_frames=50, rate=10)
    part = choose_part(clip, Fraction(2), None)
    assert (part.start, part.seconds, part.num_frames) == (Fraction(3, 2), 2, 50)
    assert choose_part(clip, Fraction(60), None).seconds == probe(clip).duration
    assert choose_part(clip, Fraction(1, 100), Fraction(1)).seconds == Fraction(8, 10)


def test_what_is_tried() -> None:
    tried = candidates(["star-small", "bicubic"], ["cpu"], ["model=bicubic,detail=0.5"], {"scale": 2})
    told = [(o.model, o.device, o.detail, o.scale) for o in tried]
    assert told == [("star-small", "cpu", None, 2), ("bicubic", "cpu", None, 2), ("bicubic", "auto", 0.5, 2)]
    for wrong in ("", "model", "=3", "model=bicubic,", "nonsense=1", "scale=9"):
        with pytest.raises(OptionError):
            candidates([], [], [wrong], {})


def test_a_table_a_sheet_and_commands_that_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "a clip.mp4", num_frames=40, rate=10)
    words = ["tune", str(clip), "-o", str(tmp_path / "trials"), "--models", "bicubic", "--scale", "2"]
    assert main([*words, "--try", "model=star-small,weights=/nonexistent"]) == 0
    said = capsys.readouterr().out
    told = json.loads((tmp_path / "trials" / "tune.json").read_text())
    good, bad = told["trials"]
    assert told["num_frames"] == 40 and told["seconds"] == 2 and told["start"] == 1
    segments = [frames for frames, _ in good["runs"]]
    assert segments[1] % segments[0] == 0 and 2 * segments[0] <= segments[1] <= 30  # whole segments of the plan
    assert good["processor_seconds_per_frame"] > 0 and good["size"] == [48, 32] and good["error"] is None
    parts = (good["load_seconds"], good["fixed_seconds"], 40 * good["seconds_per_frame"])
    assert good["estimated_seconds"] == pytest.approx(sum(parts)) and good["peak_memory"]["process"] > 50_000_000
    assert "/nonexistent" in bad["error"] and bad["error"] in said and "estimated_seconds" not in bad
    assert sorted(p.name for p in (tmp_path / "trials").iterdir()) == ["0.mkv", "sheet.png", "tune.json"]
    with Image.open(tmp_path / "trials" / "sheet.png") as sheet:
        assert sheet.width == 2 * 160 + 2  # bicubic enlargement and one result
    command = shlex.split(good["command"])
    assert command[0] == "starvsr" and main([*command[1:], "-o", str(tmp_path / "whole.mkv"), "--quiet"]) == 0
    assert probe(tmp_path / "whole.mkv").width == 48


def test_wrong_usage_is_one_line(tmp_path: Path, one_line) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    assert one_line("tune", clip, "--seconds", "soon")[0] == 2
    assert "--try" in one_line("tune", clip, "--try", "steps")[1]
    assert one_line("tune", tmp_path / "none.mp4")[0] == 1
    assert "unknown model" in one_line("tune", clip, "--models", "nonsense")[1]


def test_whole_segments_are_tried_where_the_clip_has_them() -> None:
    second, rate = Fraction(1), Fraction(25)
    assert choose_lengths(second, 2 * second, 9 * second, rate, 16) == Lengths(Fraction(16, 25), Fraction(48, 25))
    assert choose_lengths(second, 2 * second, None, rate, 40) == Lengths(Fraction(40, 25), Fraction(80, 25))
    assert choose_lengths(second, 2 * second, 3 * second, rate, 40) == Lengths(
        second / 2, 2 * second
    )  # not two of them
    assert choose_lengths(0 * second, 2 * second, 2 * second, rate, 16).many == Fraction(48, 25)
