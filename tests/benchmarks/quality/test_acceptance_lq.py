from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from benchmarks.quality import acceptance_lq
from starvsr.video.codec_pass import write_lossless


@pytest.fixture
def clip(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)
    write_lossless(tmp_path / "clip.mkv", frames, Fraction(25))
    return tmp_path / "clip.mkv", frames


def test_a_faithful_output_passes(clip, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path, frames = clip
    write_lossless(tmp_path / "out.mkv", frames.repeat(4, 1).repeat(4, 2), Fraction(25))
    checks = acceptance_lq.check_output(path, tmp_path / "out.mkv")
    assert checks == {"frames": "ok", "times": "ok", "size": "ok", "audio": "ok, none"}


def test_each_fault_is_named(clip, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path, frames = clip
    write_lossless(tmp_path / "out.mkv", frames[:3], Fraction(20))
    checks = acceptance_lq.check_output(path, tmp_path / "out.mkv")
    assert checks["frames"] == "4 -> 3"
    assert checks["times"].startswith("off by up to 0.02")
    assert "instead of (96, 64)" in checks["size"]


def test_audio_differences_are_counted():
    assert acceptance_lq._compare_audio(["a", "b"], ["a", "b"]) == "ok, 2 packets"
    assert acceptance_lq._compare_audio(["a", "b"], ["a"]) == "2 packets -> 1, 1 the same"


def test_a_constant_shift_is_accepted_and_told():
    times = [Fraction(t, 25) for t in range(3)]
    assert acceptance_lq._compare_times(times, [t + 1 for t in times]) == "ok, all moved by +1.000 s"


def test_flags_behind_the_dashes_go_to_the_command(tmp_path):
    options, flags = acceptance_lq.parse([str(tmp_path), "--clips", "face", "--", "--steps", "1"])
    assert options.clips == "face"
    assert flags == ["--steps", "1"]


def test_the_sheet_shows_the_same_frame_of_both_where_only_one_tells_its_length(clip, tmp_path):
    path, frames = clip
    write_lossless(tmp_path / "out.mkv", frames[..., ::-1].copy(), Fraction(25))
    first, second = acceptance_lq.matching_frames(path, tmp_path / "out.mkv")
    np.testing.assert_array_equal(second, first[..., ::-1])
    _, index = acceptance_lq._frame(path, 1)
    assert index == 1
