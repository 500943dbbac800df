"""The writer: containers, times to the tick, whole outputs or none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starvsr.errors import OutputError
from starvsr.video import EncodeOptions, VideoWriter, probe
from tests.video.clips import make_clip, moving_bars, packets_of
from tests.video.frames import QUICK, copy, pixels_of, times, write


def atoms(path: Path) -> list[str]:
    """Names of the top boxes of an MP4, in order."""
    data, names, at = path.read_bytes(), [], 0
    while at + 8 <= len(data):
        names.append(data[at + 4 : at + 8].decode("latin-1"))
        at += int.from_bytes(data[at : at + 4], "big") or len(data)
    return names


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_defaults_by_name(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    frames = moving_bars(5)
    write(out, frames)
    info = probe(out)
    assert info.codec == ("vp9" if suffix == ".webm" else "h264")
    assert info.pixel_format == "yuv420p"
    assert (info.color.matrix, info.color.range, info.color.primaries, info.color.transfer) == (1, 1, 1, 1)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    assert np.abs(pixels_of(out).astype(int) - frames).mean() < 4
    if suffix in (".mp4", ".mov"):
        names = atoms(out)
        assert names.index("moov") < names.index("mdat")


def test_timestamps_durations_and_offset_are_kept_to_the_tick(tmp_path: Path) -> None:
    pts = [4500, 7503, 7504, 20000, 90001, 93000]
    source = make_clip(tmp_path / "in.mp4", count=6, time_base=Fraction(1, 90000), pts=pts)
    copy(source, tmp_path / "out.mp4", options=EncodeOptions(preset="medium"))  # with B-frames
    assert times(tmp_path / "out.mp4") == times(source)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.sampled_from(
        [Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 600), Fraction(1, 90000), Fraction(1, 1000)]
    ),
    steps=st.lists(st.integers(1, 700), min_size=1, max_size=24),
    offset=st.integers(0, 500),
    suffix=st.sampled_from([".mp4", ".mov", ".mkv"]),
    bframes=st.booleans(),
)
def test_any_pattern_of_times_survives(
    tmp_path: Path, base: Fraction, steps: list[int], offset: int, suffix: str, bframes: bool
) -> None:
    pts = np.cumsum([offset, *steps]).tolist()
    out = tmp_path / f"out{suffix}"
    frame = moving_bars(1, 32, 32)[0]
    options = EncodeOptions(preset="veryfast" if bframes else "ultrafast")
    with VideoWriter(
        out, source=None, width=32, height=32, options=options, time_base=base, frame_rate=Fraction(25), overwrite=True
    ) as writer:
        for here, after in zip(pts, [*pts[1:], pts[-1] + 5], strict=True):
            writer.write(frame, here, after - here)
    got = times(out)
    tick = Fraction(1, 1000) if suffix == ".mkv" else Fraction(0)
    assert len(got) == len(pts)
    if suffix == ".mkv" and min(steps) * base < tick:
        assert any("1 ms" in note for note in writer.notes)
        return
    for (time, _), wanted in zip(got, pts, strict=True):
        assert abs(time - wanted * base) <= tick / 2
    if not bframes and 5 * base >= tick:  # MP4 keeps lengths in coding order, which wild patterns with B-frames overrun
        assert abs(got[-1][1] - 5 * base) <= tick


def test_reading_part_cuts_the_sound_and_starts_at_zero(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "in.mkv", count=30, audio=["aac"], audio_seconds=1.2, chapters=[(0, 500, "a"), (500, 1200, "b")]
    )
    copy(source, tmp_path / "out.mkv", start=Fraction(2, 5), duration=Fraction(1, 2))
    got = times(tmp_path / "out.mkv")
    assert got[0][0] == 0
    assert len(got) == 13
    whole, part = packets_of(source, "audio")[0], packets_of(tmp_path / "out.mkv", "audio")[0]
    kept = [data for time, data in whole if time is not None and Fraction(2, 5) <= time < Fraction(9, 10)]
    assert [data for _, data in part] == kept
    assert part[0][0] is not None
    assert 0 <= part[0][0] < Fraction(22, 1000)
    chapters = probe(tmp_path / "out.mkv").chapters
    assert [(float(c.start * c.time_base), c.metadata["title"]) for c in chapters] == [(0.0, "a"), (0.1, "b")]


def test_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", source=None, width=64, height=48) as writer:
        writer.write(moving_bars(1)[0], 0, 1)
        assert [p.suffix for p in tmp_path.iterdir()] == [".mp4"]
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_old_output_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    out.write_bytes(b"old")
    with VideoWriter(out, source=None, width=64, height=48, options=QUICK, overwrite=True) as writer:
        writer.write(moving_bars(1)[0], 0, 1)
        assert out.read_bytes() == b"old"
    assert probe(out).num_frames == 1


def test_no_frames_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no frame"),
        VideoWriter(tmp_path / "a.mp4", source=None, width=64, height=48),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_and_times_are_refused(tmp_path: Path) -> None:
    frame = moving_bars(1)[0]
    with VideoWriter(tmp_path / "a.mp4", source=None, width=64, height=48, options=QUICK) as writer:
        writer.write(frame, 5, 1)
        with pytest.raises(ValueError, match="must increase"):
            writer.write(frame, 5, 1)
        with pytest.raises(ValueError, match="frames must be"):
            writer.write(frame[:-2], 6, 1)
        with pytest.raises(ValueError, match="frames must be"):
            writer.write(frame.astype(np.float32), 6, 1)
