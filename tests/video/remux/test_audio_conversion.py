from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.video import EncodeOptions, probe
from tests.video.frames import copy
from tests.video.programs import PICTURE, ffmpeg, heard, lag, noise

CONVERT = EncodeOptions(missing_streams="convert")


def film(path: Path, *coding: str, rate: int = 48000, channels: int = 1) -> Path:
    """A second of picture with a second of noise."""
    ffmpeg(*PICTURE, *noise(1, rate, channels), *coding, path)
    return path


def sound_of(path: Path) -> tuple[str, str]:
    (stream,) = [stream for stream in probe(path).streams if stream.kind == "audio"]
    return stream.codec, stream.detail


@pytest.mark.parametrize(
    ("name", "coding", "rate", "target", "codec"),
    [
        ("in.mp4", ("-c:v", "libx264", "-c:a", "aac"), 48000, ".webm", "opus"),
        ("in.mp4", ("-c:v", "libx264", "-c:a", "aac"), 44100, ".webm", "opus"),
        ("in.wmv", ("-c:v", "wmv2", "-c:a", "wmav2"), 44100, ".mp4", "aac"),
        ("in.avi", ("-c:v", "mpeg4", "-c:a", "pcm_mulaw"), 8000, ".mp4", "aac"),
        ("in.mkv", ("-c:v", "libx264", "-c:a", "flac"), 48000, ".mov", "alac"),
        ("in.mkv", ("-c:v", "libx264", "-c:a", "tta"), 44100, ".mp4", "flac"),
        ("in.mkv", ("-c:v", "libx264", "-c:a", "tta", "-sample_fmt", "s16"), 48000, ".avi", "pcm_s16le"),
        ("in.mkv", ("-c:v", "libx264", "-c:a", "libvorbis"), 48000, ".ts", "aac"),
    ],
)
def test_sound_that_does_not_fit_is_coded_anew_in_step(
    tmp_path: Path, name: str, coding: tuple[str, ...], rate: int, target: str, codec: str
) -> None:
    source, out = film(tmp_path / name, *coding, rate=rate), tmp_path / f"out{target}"
    notes = copy(source, out, options=CONVERT).notes
    assert sound_of(out)[0] == codec
    assert any("is coded anew as" in note for note in notes)
    before, after = heard(source), heard(out)
    late, alike = lag(after, before)
    late -= round(48000 * (_first(out) - _first(source)))  # transport streams begin at times of their own
    assert abs(late) <= 1
    assert alike > (0.9999999 if codec in ("alac", "flac", "pcm_s16le") else 0.9)
    if codec != "aac" or target == ".mp4":
        assert abs(len(after) - len(before)) <= 1


def _first(path: Path) -> Fraction:
    info = probe(path)
    return info.start_time + info.origin


def test_without_being_asked_the_note_tells_how(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4", "-c:v", "libx264", "-c:a", "aac")
    (note,) = [n for n in copy(source, tmp_path / "out.webm", options=EncodeOptions()).notes if "left out" in n]
    assert "WebM cannot hold it" in note
    assert "--missing-streams convert codes it anew as Opus" in note
    with pytest.raises(OptionError, match="left out"):
        copy(source, tmp_path / "other.webm", options=EncodeOptions(missing_streams="error"))


def test_a_part_begins_and_ends_to_the_sample(tmp_path: Path) -> None:
    source, out = film(tmp_path / "in.mp4", "-c:v", "libx264", "-c:a", "aac"), tmp_path / "out.webm"
    copy(source, out, options=CONVERT, start=Fraction(2, 5), duration=Fraction(2, 5))
    after = heard(out)
    late, alike = lag(after, heard(source)[19200:])
    assert (late, len(after)) == (0, 19200)
    assert alike > 0.9


@pytest.mark.parametrize("target", [".webm", ".mp4"])
def test_six_channels_stay_where_they_are(tmp_path: Path, target: str) -> None:
    lossy = target == ".webm"
    coding = ("-c:v", "libx264", "-c:a", "aac" if lossy else "tta")
    source, out = film(tmp_path / "in.mkv", *coding, channels=6), tmp_path / f"out{target}"
    copy(source, out, options=CONVERT)
    assert sound_of(out)[1].startswith("48000 Hz, 5.1")
    for channel in (0, 1, 2, 4, 5):  # the low one is filtered
        tone = [_channel(path, channel) for path in (source, out)]
        late, alike = lag(*tone)
        assert (late, alike > 0.8) == (0, True), channel


def _channel(path: Path, number: int) -> np.ndarray:
    words = ("-map", "0:a:0", "-af", f"pan=mono|c0=c{number}", "-f", "f32le", "-")
    return np.frombuffer(ffmpeg("-i", path, *words), np.float32)


def test_a_gap_becomes_silence_and_what_follows_stays_in_step(tmp_path: Path) -> None:
    source, out = film(tmp_path / "in.mp4", "-c:v", "libx264", "-c:a", "aac"), tmp_path / "out.webm"
    damaged = _spoil(source, tmp_path / "bad.mp4")
    notes = copy(damaged, out, options=CONVERT).notes
    after, before = heard(out), heard(source)
    late, _ = lag(after[36000:], before[36000:])
    assert abs(late) <= 1
    assert abs(len(after) - len(before)) <= 1
    assert any("damaged packets are silent" in note for note in notes)


def _spoil(source: Path, target: Path) -> Path:
    """Overwrite some packets of sound with what no decoder takes."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [bytes(p) for p in container.demux(audio=0) if p.size]
    for content in packets[15:20]:
        place = data.find(content)
        data[place : place + len(content)] = b"\xff" * len(content)
    target.write_bytes(data)
    return target


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", "libvorbis", rate=44100)
    outs = [tmp_path / f"{number}.mov" for number in range(2)]
    for out in outs:
        copy(source, out, options=CONVERT)
    one, other = (out.read_bytes() for out in outs)
    assert one == other


def test_sound_that_fits_is_left_alone(tmp_path: Path) -> None:
    source, out = film(tmp_path / "in.mp4", "-c:v", "libx264", "-c:a", "aac"), tmp_path / "out.mkv"
    notes: Any = copy(source, out, options=CONVERT).notes
    assert list(itertools.filterfalse(lambda note: "anew" not in note, notes)) == []
    assert sound_of(out)[0] == "aac"
