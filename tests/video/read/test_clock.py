"""Joined transport and program streams: all streams go on in time over a step of the clock."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from starvsr import upscale
from starvsr.apps.cli import main
from starvsr.video import VideoReader, VideoWriter, probe
from starvsr.video.read.clock import Clock
from tests.jobs.interrupting import break_at
from tests.video.programs import ffmpeg


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second each, named by where its clock begins."""
    folder = tmp_path_factory.mktemp("pieces")
    clip = folder / "clip.mkv"
    tone = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=440:r=48000:d=1"]
    ffmpeg(*tone, "-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac", clip)
    ffmpeg(*tone, "-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2", "-f", "vob", folder / "10.vob")
    for start in ("10", "5000", "2", "10.98", "10.97", "10.94"):
        ffmpeg("-i", clip, "-c", "copy", "-output_ts_offset", start, folder / f"{start}.ts")
    ffmpeg(*tone, "-c:v", "mpeg2video", "-c:a", "mp2", "-output_ts_offset", "5000", "-f", "vob", folder / "5000.vob")
    return folder


def joined(pieces: Path, folder: Path, *names: str) -> Path:
    out = folder / f"joined{Path(names[0]).suffix}"
    out.write_bytes(b"".join((pieces / name).read_bytes() for name in names))
    return out


def times(path: Path, kind: str) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        found = [p.pts * Fraction(p.time_base) for p in container.demux(stream) if p.pts is not None]
        return sorted(found)


def copied(path: Path, out: Path, **part: Any) -> tuple[Path, list[str]]:
    with VideoReader(path, **part) as reader:
        info = reader.info
        with VideoWriter(
            out, source=info, width=info.width, height=info.height, time_range=reader.time_range
        ) as writer:
            for frame in reader:
                writer.write(frame.pixels, frame.pts, frame.duration)
        return out, [*reader.notes, *writer.notes]


@pytest.mark.parametrize(
    ("names", "least", "most"),
    [
        (("10.ts", "2.ts"), 0.04, 0.04),
        (("10.ts", "5000.ts"), 0.04, 0.04),
        (("5000.ts", "10.ts", "2.ts"), 0.04, 0.04),
        (("10.ts", "10.ts"), 0.04, 0.04),
        (("10.ts", "10.98.ts"), 0.02, 0.04),  # half a frame: too little for a step, as for FFmpeg's program
        (("10.ts", "10.97.ts"), 0.04, 0.04),
        (("10.ts", "10.94.ts"), 0.04, 0.04),
        (("10.vob", "5000.vob"), 0.04, 0.05),
        (("5000.vob", "10.vob"), 0.04, 0.05),
    ],
)
def test_pictures_go_on_evenly(pieces: Path, tmp_path: Path, names: tuple[str, ...], least: float, most: float) -> None:
    path = joined(pieces, tmp_path, *names)
    info = probe(path)
    with VideoReader(path, info=info) as reader:
        shown = [frame.pts * frame.time_base for frame in reader]
        notes = reader.notes
    gaps = [float(after - here) for here, after in pairwise(shown)]
    assert len(shown) == 25 * len(names)
    assert min(gaps) >= least - 1e-3
    assert max(gaps) <= most + 1e-3
    assert info.estimated_frames == pytest.approx(len(shown), abs=1)
    assert info.clock_steps == (0 if "10.98.ts" in names else len(names) - 1)
    assert any("its clock steps" in note for note in notes) == bool(info.clock_steps)
    assert not any("do not increase" in note for note in notes)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_stays_in_step(pieces: Path, tmp_path: Path, suffix: str) -> None:
    """In the second piece sound lies to the pictures as it does in that piece alone."""
    out, _ = copied(joined(pieces, tmp_path, "10.ts", "2.ts"), tmp_path / f"out.{suffix}")
    pictures, sound = times(out, "video"), times(out, "audio")
    alone = times(pieces / "2.ts", "audio")[-1] - times(pieces / "2.ts", "video")[-1]
    assert float(sound[-1] - pictures[-1]) == pytest.approx(float(alone), abs=0.0015)
    assert len(sound) == 2 * len(times(pieces / "2.ts", "audio"))


def test_a_part_across_the_step(pieces: Path, tmp_path: Path) -> None:
    path = joined(pieces, tmp_path, "10.ts", "2.ts")
    out, _ = copied(path, tmp_path / "out.mp4", start=Fraction(1, 2), duration=Fraction(1))
    pictures, sound = times(out, "video"), times(out, "audio")
    assert [float(time) for time in pictures] == pytest.approx([0.04 * index for index in range(25)])
    assert 0 <= sound[0] < Fraction(1, 40)
    assert abs(sound[-1] + Fraction(1024, 48000) - 1) < Fraction(1, 40)
    late, _ = copied(path, tmp_path / "late.mp4", start=Fraction(6, 5))
    assert len(times(late, "video")) == 20


def test_an_interrupted_job_goes_on_over_the_steps(pieces: Path, tmp_path: Path) -> None:
    """The same bytes as without the interruption, wherever that comes."""
    source = joined(pieces, tmp_path, "10.ts", "5000.ts", "2.ts", "5000.ts", "2.ts")
    options: dict[str, Any] = {"model": "bicubic", "scale": 2, "segment": 4}
    whole, broken = tmp_path / "whole.mp4", tmp_path / "broken.mp4"
    assert upscale(source, whole, **options).num_frames == 125
    for frame in (55, 110):
        break_at(source, broken, frame, **options)
    result = upscale(source, broken, **options)
    assert result.num_frames == 125 and result.num_kept >= 50
    assert any("its clock steps 4 times" in note for note in result.notes)
    assert broken.read_bytes() == whole.read_bytes()


def test_a_long_look_at_a_stream_is_told(
    pieces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("starvsr.video.read.clock.SURVEY_PATIENCE", 0.0)
    source = joined(pieces, tmp_path, "2.ts", "5000.ts")
    words = ["upscale", str(source), "-o", str(tmp_path / "o.mkv"), "--model", "bicubic", "--scale", "1"]
    assert main(words) == 0
    assert capfd.readouterr().err.count("joined.ts: reading it once, for its length and the steps of its clock") == 1
    assert main([*words, "-q", "-y"]) == 0
    assert "reading it once" not in capfd.readouterr().err


def test_a_file_without_steps_is_left_alone(pieces: Path) -> None:
    info = probe(pieces / "10.ts")
    assert info.clock_steps == 0
    assert not any("clock" in note for note in info.notes)


# ---- packets by hand


def stream(index: int, kind: str) -> Any:
    context = SimpleNamespace(frame_size=1024, sample_rate=48000)
    base = Fraction(1, 90000)
    return SimpleNamespace(
        index=index, type=kind, time_base=base, guessed_rate=Fraction(25), codec_context=context, disposition=0
    )


def follow(packets: list[tuple[int, int]]) -> tuple[list[int], int]:
    """Give the times that become of (stream, time) of pictures (0) and sound (1)."""
    clock, found = Clock([stream(0, "video"), stream(1, "audio")]), []
    for index, time in packets:
        packet = SimpleNamespace(stream_index=index, pts=time, dts=time, duration=3600 if index == 0 else 1920)
        clock.correct(packet)
        found.append(packet.dts)
    return found, clock.num_steps


def test_a_late_packet_of_the_old_clock_keeps_it() -> None:
    old = [(0, 900000 + 3600 * n) for n in range(5)]
    sound = [(1, 900000 + 1920 * n) for n in range(10)]
    new = [(1, 100000), (0, 900000 + 3600 * 5), (0, 99000), (1, 101920), (0, 102600)]
    found, steps = follow([*old, *sound, *new])
    assert steps == 1
    assert found[-5:] == [919200, 918000, 918200, 921120, 921800]


def test_a_picture_that_took_the_time_of_the_next_recording_loses_it() -> None:
    """A parser sees the end of the last picture only where the next recording begins, and takes the time from there."""
    clock = Clock([stream(0, "video")])
    taken = 3003 * 20 - 2400
    times = [*((3003 * (n + 1), 3003 * n) for n in range(19)), (taken, 3003 * 19)]
    times += [(taken, taken - 3003), (taken + 3003, taken)]
    packets = [SimpleNamespace(stream_index=0, pts=pts, dts=dts, duration=3003) for pts, dts in times]
    found = [packet.pts for packet in clock.corrected(packets, 0)]
    assert clock.num_steps == 1
    assert found == [*(3003 * n for n in range(1, 20)), None, 3003 * 21, 3003 * 22]


def test_sound_that_came_back_before_the_pictures_follows_their_step() -> None:
    """The new recording's sound may come first; by itself, 60 ms are no step for it, but they are for the pictures."""
    old = [(0, 900000 + 3600 * n) for n in range(6)] + [(1, 900000 + 1920 * n) for n in range(10)]
    early = [(1, 900000 + 1920 * 10 - 5400 + 1920 * n) for n in range(3)]
    new = [(0, 900000 + 3600 * 6 - 5400), (0, 900000 + 3600 * 7 - 5400), (1, 900000 + 1920 * 13 - 5400)]
    found, steps = follow([*old, *early, *new])
    assert steps == 1
    assert found[-3:] == [900000 + 3600 * 6, 900000 + 3600 * 7, 900000 + 1920 * 13]


def test_uneven_pictures_and_jittering_sound_are_no_step() -> None:
    pictures = [(0, time) for time in (0, 3600, 3601, 9000, 9001, 9002, 30000, 30001)]
    sound = [(1, time) for time in (0, 1920, 1000, 5760, 5000)]
    assert follow([*pictures, *sound]) == ([time for _, time in [*pictures, *sound]], 0)


def test_a_gap_of_some_seconds_is_kept() -> None:
    packets = [(0, 0), (0, 3600), (0, 3600 + 90000 * 9)]
    assert follow(packets) == ([time for _, time in packets], 0)
    assert follow([(0, 0), (0, 3600), (0, 3600 + 90000 * 11)]) == ([0, 3600, 7200], 1)
