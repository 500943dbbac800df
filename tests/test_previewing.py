"""A look at frames of a clip: those that were asked for, as the job makes them, and as `--detail` would blend them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import starvsr
from starvsr.errors import InputError, OptionError
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
