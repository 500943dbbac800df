"""Chroma samples lie where the input has them, and the output says so; judged by FFmpeg's program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from starvsr.video import VideoReader, VideoWriter, probe
from starvsr.video.chroma import chroma_location, location_in
from starvsr.video.write.encoders import EncodeOptions

SIDE = 64
X264 = ("-c:v", "libx264", "-qp", "0")
X265 = ("-c:v", "libx265", "-x265-params", "lossless=1:log-level=none")
FFV1 = ("-c:v", "ffv1")


def run(*words: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", *map(str, words)]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def planes(raw: bytes) -> list[np.ndarray]:
    """Cut 10-bit 4:2:0 of a square picture into luma and two planes of chroma."""
    samples = np.frombuffer(raw, "<u2").astype(int)
    return np.split(samples, [SIDE * SIDE, SIDE * SIDE * 5 // 4])


def ramps() -> bytes:
    """A gray square whose chroma climbs by 11 codes of 1024 from sample to sample, across and down."""
    climb = (np.arange(SIDE // 2) - SIDE // 4) * 11 + 512
    luma = np.full((SIDE, SIDE), 500)
    chroma = [np.tile(climb, (SIDE // 2, 1)), np.tile(climb[:, None], (1, SIDE // 2))]
    return b"".join(plane.astype("<u2").tobytes() for plane in (luma, *chroma))


def make(path: Path, *coding: str, location: str) -> Path:
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{SIDE}x{SIDE}", "-i", "-")
    mark = ("-vf", f"setparams=colorspace=bt709:range=tv:chroma_location={location}")
    done = run("-v", "error", *raw, *mark, *coding, "-y", path, data=ramps())
    assert not done.stderr, done.stderr.decode()
    assert decoded(path) == ramps()
    return path


def copied(path: Path, out: Path, options: EncodeOptions) -> Path:
    source = probe(path)
    with VideoWriter(out, source=source, width=SIDE, height=SIDE, options=options) as writer:
        for frame in VideoReader(path, info=source):
            writer.write(frame.pixels, frame.pts, frame.duration)
    return out


def decoded(path: Path, pixel_format: str = "yuv420p10le") -> bytes:
    done = run("-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", pixel_format, "-")
    assert not done.stderr, done.stderr.decode()
    return done.stdout


def described(path: Path) -> str:
    return next(line for line in run("-v", "verbose", "-i", path).stderr.decode().split("\n") if "Video:" in line)


LOSSLESS_X264 = EncodeOptions(codec="libx264", crf=0, preset="ultrafast", pixel_format="yuv420p10le", extra={"qp": "0"})
AS_FFV1 = EncodeOptions(codec="ffv1", pixel_format="yuv420p10le")


@pytest.mark.parametrize(
    ("coding", "location", "options", "told"),
    [
        (X264, "left", LOSSLESS_X264, "left"),
        (X264, "topleft", LOSSLESS_X264, "topleft"),
        (X264, "bottom", LOSSLESS_X264, "bottom"),
        (X265, "topleft", AS_FFV1, "topleft"),
        (X264, "left", AS_FFV1, "left"),
        (FFV1, "left", LOSSLESS_X264, "left"),
        (FFV1, "unspecified", AS_FFV1, ""),
    ],
)
def test_chroma_stays_where_it_is(
    tmp_path: Path, coding: tuple[str, ...], location: str, options: EncodeOptions, told: str
) -> None:
    """Half a pixel to the side would be 3 codes, as it is where samples go from the left to the middle."""
    source = make(tmp_path / "in.mkv", *coding, location=location)
    assert probe(source).color.chroma_location == (told or "center")
    out = copied(source, tmp_path / "out.mkv", options)
    worst = [np.abs(a - b).max() for a, b in zip(planes(decoded(out)), planes(ramps()), strict=True)]
    assert max(worst) <= 1, worst
    assert (told in described(out)) if told else not any(word in described(out) for word in ("left", "center"))


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format", "wanted"),
    [
        ("mp4", "libvpx-vp9", "yuv420p", "center"),  # no word for it there
        ("webm", "libvpx-vp9", "yuv420p", "left"),
        ("mov", "prores_ks", "yuv422p10le", "center"),
        ("mp4", "libsvtav1", "yuv420p", "left"),
        ("mp4", "libx264", "yuv444p", "center"),
        ("mpegts", "mpeg2video", "yuv420p", "left"),
    ],
)
def test_what_the_output_cannot_tell_is_written_as_ffmpeg_takes_it(
    container: str, codec: str, pixel_format: str, wanted: str
) -> None:
    assert location_in(container, codec, pixel_format, "left") == wanted


@pytest.mark.parametrize(
    ("name", "coding", "location"),
    [
        ("a.m2v", ("-c:v", "mpeg2video"), "left"),
        ("a.m1v", ("-c:v", "mpeg1video"), "center"),
        ("a.jpg", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"), "center"),
        ("a.png", ("-c:v", "png", "-pix_fmt", "rgb24"), "center"),
        ("a.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv444p"), "center"),
        ("b.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv422p10le"), "left"),
    ],
)
def test_location_by_codec(tmp_path: Path, name: str, coding: tuple[str, ...], location: str) -> None:
    run("-v", "error", "-f", "lavfi", "-i", "testsrc2=s=96x64:r=25", "-frames:v", "1", *coding, "-y", tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        assert chroma_location(next(container.decode(video=0))) == location
