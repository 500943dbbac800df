from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.video import EncodeOptions, probe
from starvsr.video.write.constant_rate import ConstantRate, check_constant_rate
from starvsr.video.write.containers import CONTAINERS, container_of
from tests.video.clips import make_clip, moving_bars
from tests.video.frames import copy, pixels_of, times
from tests.video.programs import ffmpeg


@pytest.mark.parametrize("codec", [None, "ffv1"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_avi_keeps_frames_times_and_colours(tmp_path: Path, codec: str | None, rate: Fraction) -> None:
    source = make_clip(tmp_path / "in.mp4", count=12, rate=rate, tags=(1, 1, 1, 1))
    out = tmp_path / "out.avi"
    notes = copy(source, out, options=EncodeOptions(codec=codec)).notes
    assert notes == []
    assert [start for start, _ in times(out)] == [index / rate for index in range(12)]
    worst = np.abs(pixels_of(out).astype(int) - pixels_of(source)).mean()
    assert worst < (1 if codec == "ffv1" else 4)
    assert _frames_of_ffmpeg(out) == 12


@pytest.mark.parametrize("suffix", [".ts", ".m2ts"])
@pytest.mark.parametrize("codec", [None, "hevc", "mpeg2"])
def test_transport_streams_keep_frames_and_times(tmp_path: Path, suffix: str, codec: str | None) -> None:
    source = make_clip(tmp_path / "in.mp4", count=12, size=(64, 64), audio=["aac"])
    out = tmp_path / f"out{suffix}"
    copy(source, out, options=EncodeOptions(codec=codec))
    starts = [start for start, _ in times(out)]
    assert [start - starts[0] for start in starts] == [Fraction(index, 25) for index in range(12)]
    assert np.abs(pixels_of(out).astype(int) - pixels_of(source)).mean() < 4
    assert [stream.codec for stream in probe(out).streams][1] == "aac"
    assert (out.read_bytes()[4:5] == b"G") == (suffix == ".m2ts")
    assert _frames_of_ffmpeg(out) == 12


def test_ten_bits_go_into_a_transport_stream_and_are_named_in_avi(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="libx265", pix_fmt="yuv420p10le", size=(64, 64))
    copy(source, tmp_path / "out.ts")
    assert probe(tmp_path / "out.ts").pixel_format == "yuv420p10le"
    notes = copy(source, tmp_path / "out.avi", options=EncodeOptions()).notes
    assert any("keeps 8 of the input's 10 bits" in note for note in notes)


def test_h264_is_refused_in_avi(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    for codec in ("h264", "h264_nvenc"):
        with pytest.raises(OptionError, match="choose one of mpeg4, ffv1"):
            copy(source, tmp_path / "out.avi", options=EncodeOptions(codec=codec))


def test_varying_rates_are_refused_in_avi(tmp_path: Path) -> None:
    ticks = [0, 40, 80, 90, 100, 140, 180, 220]
    source = make_clip(tmp_path / "in.mkv", pts=ticks, time_base=Fraction(1, 1000))
    with pytest.raises(OptionError, match=r"constant rate.*\.mp4 or \.mkv"):
        check_constant_rate(probe(source), "out.avi")
    with pytest.raises(OptionError, match="constant rate"):
        copy(source, tmp_path / "out.avi", options=EncodeOptions())
    assert not (tmp_path / "out.avi").exists()


def test_a_frame_that_is_missing_leaves_a_gap_in_avi(tmp_path: Path) -> None:
    ticks = [0, 40, 80, 200, 240]
    source = make_clip(tmp_path / "in.mkv", count=5, pts=ticks, time_base=Fraction(1, 1000))
    check_constant_rate(probe(source), "out.avi")
    copy(source, tmp_path / "out.avi", options=EncodeOptions())
    assert [1000 * start for start, _ in times(tmp_path / "out.avi")] == ticks


def test_frames_that_are_moved_are_named() -> None:
    rate = ConstantRate("out.avi", Fraction(25))
    assert [rate.place(Fraction(ms, 1000)) for ms in (0, 41, 79, 130)] == [0, 1, 2, 3]
    (note,) = rate.notes(Fraction(1, 1000))
    assert "moved by up to 10.0 ms" in note
    with pytest.raises(OptionError, match="constant rate"):
        rate.place(Fraction(131, 1000))


def test_transparency_needs_a_lossless_codec_in_avi(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mov", moving_bars(3, channels=4), codec="prores_ks", pix_fmt="yuva444p10le")
    copy(source, tmp_path / "out.avi", options=EncodeOptions())
    assert (probe(tmp_path / "out.avi").codec, probe(tmp_path / "out.avi").has_alpha) == ("ffv1", True)
    with pytest.raises(OptionError, match="transparency"):
        copy(source, tmp_path / "out.ts", options=EncodeOptions())


@pytest.mark.parametrize("suffix", [".avi", ".ts"])
def test_chapters_and_aspect_are_named_or_kept(tmp_path: Path, suffix: str) -> None:
    extras: dict[str, Any] = {"chapters": [(0, 200, "x")], "aspect": Fraction(4, 3), "attachments": {"a.ttf": b"x"}}
    source = make_clip(tmp_path / "in.mkv", **extras)
    notes = copy(source, tmp_path / f"out{suffix}", options=EncodeOptions()).notes
    assert any("chapters are left out" in note for note in notes)
    assert any("holds no attachments" in note for note in notes)
    assert probe(tmp_path / f"out{suffix}").sample_aspect_ratio == Fraction(4, 3)


def test_an_unknown_suffix_names_all_that_can_be_written() -> None:
    with pytest.raises(OptionError) as caught:
        container_of("out.xyz", ".xyz")
    for suffix in (*CONTAINERS, ".png", ".jpg"):
        assert suffix in str(caught.value)


@pytest.mark.parametrize(("codec", "crf"), [("mpeg4", 0), ("mpeg4", 32)])
def test_quality_of_mpeg4_has_its_own_range(tmp_path: Path, codec: str, crf: int) -> None:
    source = make_clip(tmp_path / "in.mp4")
    with pytest.raises(OptionError, match="from 1 to 31"):
        copy(source, tmp_path / "out.avi", options=EncodeOptions(codec=codec, crf=crf))


def _frames_of_ffmpeg(path: Path) -> int:
    lines = ffmpeg("-i", path, "-map", "0:v", "-f", "framemd5", "-").decode().splitlines()
    return sum(not line.startswith("#") for line in lines)
