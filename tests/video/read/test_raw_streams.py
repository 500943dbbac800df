"""Raw streams, and containers whose mean rate is their clock: rate, count and times as FFmpeg's program has them."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from benchmarks.reliability.media_facts import parse_framecrc
from starvsr.video import VideoReader, probe

DV = [
    ("720x480", "30000/1001", "yuv411p"),
    ("720x576", "25", "yuv420p"),
    ("720x576", "25", "yuv422p"),
    ("1440x1080", "25", "yuv422p"),
    ("960x720", "60000/1001", "yuv422p"),
]
RAW = [
    ("h264", "libx264", "50"),
    ("h264", "libx264", "30000/1001"),
    ("hevc", "libx265", "12"),
    ("m1v", "mpeg1video", "24000/1001"),
    ("m2v", "mpeg2video", "30000/1001"),
    ("m4v", "mpeg4", "12"),
    ("m4v", "mpeg4", "60000/1001"),
    ("mjpeg", "mjpeg", "25"),
    ("ivf", "libvpx", "12"),
    ("y4m", "rawvideo", "15"),
    ("ogv", "libtheora", "12"),
    ("drc", "vc2", "50"),
]
COUNT = 6


def make(path: Path, size: str, rate: str, *coding: str, count: int = COUNT) -> Path:
    forms = {".m4v": ["-f", "m4v"], ".drc": ["-f", "dirac"]}.get(path.suffix, [])
    source = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}", "-frames:v", str(count)]
    quiet = ["-x265-params", "log-level=none"] if "libx265" in coding else []
    run(*source, *coding, *quiet, *forms, str(path))
    return path


def run(*words: str) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(path: Path, rate: Fraction) -> None:
    """Frames lie at multiples of 1 / rate, and are as many as FFmpeg's program decodes.

    Its times are no measure: with MPEG-4 at 60000/1001 frames per second, its decoder takes the clock for the rate.
    """
    info = probe(path)
    told = parse_framecrc(run("-i", str(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "framecrc", "-"))
    with VideoReader(path, deinterlace="off") as reader:
        frames = [(frame.pts * frame.time_base, frame.duration * frame.time_base) for frame in reader]
    assert info.frame_rate == rate
    assert len(frames) == len(told.times) == COUNT
    assert abs((info.estimated_frames or 0) - COUNT) <= (path.suffix == ".drc")  # its end is a packet, too
    assert [float(time - frames[0][0]) for time, _ in frames] == pytest.approx(
        [float(number / rate) for number in range(COUNT)], abs=1e-4
    )
    assert float(frames[-1][1]) == pytest.approx(float(1 / rate), rel=1e-3)


@pytest.mark.parametrize(("size", "rate", "pixels"), DV)
def test_dv(tmp_path: Path, size: str, rate: str, pixels: str) -> None:
    check(make(tmp_path / "a.dv", size, rate, "-pix_fmt", pixels, "-c:v", "dvvideo"), Fraction(rate))


@pytest.mark.parametrize(("suffix", "codec", "rate"), RAW)
def test_rates(tmp_path: Path, suffix: str, codec: str, rate: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    check(make(tmp_path / f"a.{suffix}", "96x64", rate, "-pix_fmt", pixels, "-c:v", codec), Fraction(rate))


@pytest.mark.parametrize("rate", ["24000/1001", "50"])
def test_two_frames_of_raw_mpeg4_tell_their_rate(tmp_path: Path, rate: str) -> None:
    """FFmpeg guesses rates from three frames on, and says 25 here."""
    info = probe(make(tmp_path / "a.m4v", "96x64", rate, "-c:v", "mpeg4", count=2))
    assert info.frame_rate == Fraction(rate)
    assert info.duration == 2 / Fraction(rate)


def test_repeated_fields_of_a_raw_stream_are_shown_as_long_as_they_last(tmp_path: Path) -> None:
    """Films on discs: every other picture is shown for three fields."""
    path = make(tmp_path / "a.m2v", "96x64", "30000/1001", "-c:v", "mpeg2video", "-bf", "0")
    data = bytearray(path.read_bytes())
    place, number = -1, 0
    while (place := data.find(b"\0\0\1\xb5", place + 1)) >= 0:
        if data[place + 4] >> 4 == 1:  # sequence extension: not all pictures are progressive
            data[place + 5] &= 0xF7
        elif data[place + 4] >> 4 == 8:  # picture coding extension: repeat the first field
            data[place + 7] |= 0x02 if number % 2 else 0
            number += 1
    path.write_bytes(data)
    rate = Fraction(30000, 1001)
    info = probe(path)
    with VideoReader(path, deinterlace="off") as reader:
        fields = [round(frame.duration * frame.time_base * rate * 2) for frame in reader]
    assert number == COUNT
    assert fields == [2, 3] * 3
    assert info.duration == Fraction(15, 2) / rate
    with VideoReader(path, frame_rate=Fraction(25), deinterlace="off") as reader:
        assert [frame.pts * frame.time_base for frame in reader][2] == Fraction(5, 50)


def test_an_avi_whose_writer_left_frames_out_is_whole(tmp_path: Path) -> None:
    sound = ["-f", "lavfi", "-i", "sine=440:r=48000:d=0.6", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=50:d=0.6"]
    run(*sound, "-c:v", "mpeg4", "-c:a", "libmp3lame", str(tmp_path / "a.avi"))
    with VideoReader(tmp_path / "a.avi") as reader:
        assert sum(1 for _ in reader) == 30
