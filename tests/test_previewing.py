"""A look at frames of a clip: those that were asked for, as the job makes them, and as `--detail` would blend them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import starvsr
from starvsr.errors import InputError, OptionError
from starvsr.jobs.counting import computed
from starvsr.previewing import preview_clip
from starvsr.video import VideoReader
from tests.support.doubles import NearestUpscaler
from tests.video.clips import make_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("preview") / "a.mp4", count=20, size=(24, 16), rate=Fraction(10))


def test_frames_of_a_time_before_and_after(clip: Path) -> None:
    with VideoReader(clip) as reader:
        source = [frame.pixels for frame in reader]
    with starvsr.open_preview(clip, upscaler=NearestUpscaler()) as preview:
        assert preview.estimated_seconds is None
        for start, count, first in ((1.0, 3, 10), (0, 1, 0), (0.2, 2, 2), (1.8, 9, 18)):
            shown = preview.frames(start, count)
            assert len(shown) == min(count, 20 - first)
            for index, frame in enumerate(shown, first):
                assert frame.time == Fraction(index, 10)
                assert np.array_equal(frame.after, source[index].repeat(4, 0).repeat(4, 1))
        assert preview.estimated_seconds == pytest.approx(20 * (preview.seconds_per_frame or 0))
        with pytest.raises((InputError, OptionError)):
            preview.frames(90)
        with pytest.raises(OptionError):
            preview.frames(0, 0)


def test_blending_is_that_of_the_option(clip: Path) -> None:
    model = NearestUpscaler()
    with starvsr.open_preview(clip, upscaler=model, scale=2) as preview:
        (plain,) = preview.frames(0.5, 1)
    with starvsr.open_preview(clip, upscaler=model, scale=2, detail=0.3) as preview:
        (blended,) = preview.frames(0.5, 1)
    assert np.abs(plain.at_detail(0.3).astype(int) - blended.after).max() <= 1
    assert np.array_equal(plain.at_detail(1), plain.after) and np.array_equal(plain.at_detail(0), plain.before)
    with pytest.raises(OptionError):
        plain.at_detail(1.1)
    with pytest.raises(OptionError, match="--crf"), starvsr.open_preview(clip, upscaler=model, crf=3):
        pass


def times_of(path: Path) -> list[Fraction]:
    with VideoReader(path) as reader:
        return [frame.pts * frame.time_base for frame in reader]


def test_seconds_before_and_after_are_in_step_and_tell_the_time_of_the_whole(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", count=50, size=(24, 16), rate=Fraction(10), audio=["aac"], audio_seconds=5)
    with VideoReader(source) as reader:
        shown = [frame.pixels for frame in reader][20:40]
    reports = []
    with starvsr.open_preview(source, upscaler=NearestUpscaler()) as preview:
        made = preview.clip(tmp_path / "a" / "look", start=2)
        assert preview.seconds_per_frame == made.seconds_per_frame > 0
        again = preview.clip(
            tmp_path / "a" / "look", start=4.5, seconds=9
        )  # what lay there is replaced; the clip ends before
    assert (again.num_frames, again.start) == (5, Fraction(9, 2)) and len(times_of(again.after)) == 5
    job = starvsr.prepare(source, tmp_path / "whole.mkv", upscaler=NearestUpscaler(), codec="ffv1")
    made = preview_clip(job, 2, 2, on_progress=reports.append)
    assert (made.before, made.after) == (tmp_path / "before.mp4", tmp_path / "after.mkv")
    assert (
        times_of(made.before) == times_of(made.after) == [Fraction(n, 10) for n in range(20)] and made.num_frames == 20
    )
    with VideoReader(made.after) as reader:
        for frame, pixels in zip(reader, shown, strict=True):
            wanted = pixels.repeat(4, 0).repeat(4, 1).astype(int)
            assert np.abs(frame.pixels.astype(int) - wanted).mean() < 3  # as the job codes it
    assert [stream.kind for stream in starvsr.probe(made.after).streams].count("audio") == 1
    assert reports[-1].stage == "done" and not (tmp_path / "whole.mkv").exists()
    share = computed(job.plan, 50) / computed(job.plan, 20)
    upscaling = made.seconds_per_frame * 20
    assert 0 < upscaling < made.seconds  # what comes before the first frame counts once
    assert made.estimated_seconds == pytest.approx(made.seconds - upscaling + upscaling * share)
    with pytest.raises(OptionError):
        preview_clip(job, 90, 2)
