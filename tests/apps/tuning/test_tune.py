"""`starvsr tune`: estimates from runs of two lengths, trials that are undisturbed and whose failures are told."""

from __future__ import annotations

import json
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.api import prepare
from starvsr.apps.cli import main
from starvsr.apps.tuning.estimate import Run, Timing
from starvsr.apps.tuning.run import candidates, choose_part
from starvsr.apps.tuning.trial import Lengths, choose_lengths
from starvsr.engine.segments import plan_segments
from starvsr.errors import OptionError
from starvsr.jobs.counting import _continued, computed, count_computed
from starvsr.video import probe
from tests.apps.commands import write_clip
from tests.support.doubles import NearestUpscaler
from tests.video.clips import make_clip, moving_bars


def test_what_a_frame_takes_is_told_from_what_a_run_takes() -> None:
    """A run of n computed frames takes 3 + 0.5 n seconds, the first one 1.5 more; 2 s of loading and ending."""
    cold, few, many = Run(4, 6, 7.5), Run(4, 6, 6.0), Run(16, 26, 16.0)
    timing = Timing(2.0, cold, few, many, num_computed=180)
    assert timing.seconds_per_computed == 0.5 and timing.fixed_seconds == 3 and timing.warm_up_seconds == 1.5
    assert timing.whole == 2 + 1.5 + 3 + 90 and timing.seconds_per_frame == 0.5 * 26 / 16
    assert Timing(2.0, cold, few, many).whole is None
    noisy = Timing(0.0, few, few, Run(16, 26, 5.0), 100)
    assert noisy.seconds_per_frame == 0 and noisy.whole == 5
    one = Run(8, 8, 4.0)
    assert Timing(1.0, one, one, one, 16).whole == 9  # a clip with no two lengths


def test_context_and_short_shots_count_as_the_job_computes_them(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", np.broadcast_to(moving_bars(1, 16, 24), (50, 16, 24, 3)))  # one shot
    job = prepare(clip, tmp_path / "out.mp4", upscaler=NearestUpscaler(), segment=8, overlap=2)
    whole = computed(job.plan, 50)
    assert whole == sum(s.stop - s.start for s in plan_segments(50, 8, job.plan.overlap, job.plan.crossfade)) > 50
    assert computed(job.plan, 50, [4, 9]) != whole  # cuts begin segments of their own
    assert count_computed(job) == whole == count_computed(job, patience=-1)  # one frame seen, and no cut
    frames = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), np.uint8).repeat(10, 0).repeat(12, 1).repeat(16, 2)
    shots = prepare(make_clip(tmp_path / "b.mkv", frames, codec="ffv1"), tmp_path / "b.mp4", upscaler=NearestUpscaler())
    assert count_computed(shots) == 50 == computed(shots.plan, 50, [10, 20, 30, 40])  # no context beyond a cut
    assert _continued([3, 10], 12, 30) == (30, [3, 10, 15, 22, 27])


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
    cold, few, many = (run["num_frames"] for run in good["runs"])
    assert cold == few and many % few == 0 and 2 * few <= many <= 30  # whole segments of the plan
    assert good["computed_frames"] == 40 == good["runs"][2]["num_computed"] * 40 / many  # bicubic needs no context
    assert good["processor_seconds_per_frame"] > 0 and good["size"] == [48, 32] and good["error"] is None
    parts = [good[f"{name}_seconds"] for name in ("load", "warm_up", "fixed")] + [40 * good["seconds_per_frame"]]
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
