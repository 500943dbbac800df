from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starvsr.errors import InputNotFoundError, OptionError, UnreadableInputError
from starvsr.video.codec_pass import (
    DECODERS,
    clip_frame_rate,
    compress_clip,
    hdr_transfer,
    read_clip,
    write_clip,
    write_lossless,
)


def moving_texture(num_frames: int = 6, height: int = 64, width: int = 80) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width].astype(float)
    frames = []
    for shift in range(num_frames):
        x = columns + 2 * shift
        planes = [np.sin(rows / 6), np.sin(x / 9), np.sin(rows / 4) * np.sin(x / 5)]
        frames.append(np.stack([127.5 + 100 * plane for plane in planes], axis=-1))
    return np.stack(frames).round().astype(np.uint8)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2)))


@pytest.mark.parametrize("codec", list(DECODERS))
def test_lower_quality_loses_more_and_the_bytes_repeat(codec: str) -> None:
    frames = moving_texture()
    good, bad = {"mpeg4": (2, 25), "libvpx-vp9": (10, 60)}.get(codec, (15, 42))
    fine, poor = compress_clip(frames, codec, crf=good), compress_clip(frames, codec, crf=bad)
    assert fine.shape == frames.shape and fine.dtype == np.uint8
    assert psnr(fine, frames) > psnr(poor, frames) + 4
    np.testing.assert_array_equal(poor, compress_clip(frames, codec, crf=bad))


ENCODE_A_FEW = """
import hashlib, numpy as np
from starvsr.video.codec_pass import compress_clip
rng = np.random.default_rng(3)
for codec in ("libx264", "libx265", "mpeg4", "libvpx-vp9"):
    for height, width in ((100, 188), (62, 208), (170, 90)):
        base = rng.integers(0, 256, (24, 28, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        clip = np.stack([np.roll(base, k, 1)[:height, :width] for k in range(9)])
        clip += rng.integers(0, 12, clip.shape, np.uint8)
        print(codec, hashlib.sha256(compress_clip(clip, codec, bit_rate=200_000).tobytes()).hexdigest())
"""


def test_the_bytes_are_the_same_in_every_process() -> None:
    told = [subprocess.run([sys.executable, "-c", ENCODE_A_FEW], capture_output=True, check=True) for _ in range(3)]
    assert len(told[0].stdout.splitlines()) == 12
    assert told[0].stdout == told[1].stdout == told[2].stdout


@pytest.mark.parametrize("codec", list(DECODERS))
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 40), (109, 70)])
def test_odd_and_tiny_sizes(codec: str, size: tuple[int, int]) -> None:
    frames = moving_texture(3, *size)
    coded = compress_clip(frames, codec, crf=5)
    assert coded.shape == frames.shape
    assert psnr(coded, frames) > 22


@pytest.mark.parametrize("codec", list(DECODERS))
def test_colours_and_range_survive(codec: str) -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (200, 40, 90), (20, 180, 60)):
        frames = np.broadcast_to(np.array(colour, dtype=np.uint8), (1, 32, 32, 3)).copy()
        np.testing.assert_allclose(compress_clip(frames, codec, crf=4).astype(int), frames, atol=4)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_lower_bit_rate_loses_more(codec: str) -> None:
    frames = moving_texture(10)
    starved, fed = (compress_clip(frames, codec, bit_rate=rate, frame_rate=25) for rate in (8_000, 800_000))
    assert psnr(fed, frames) > psnr(starved, frames) + 3


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_deblocking_and_preset_reach_the_encoder(codec: str) -> None:
    frames = moving_texture()
    smooth = compress_clip(frames, codec, crf=40, preset="veryfast")
    assert not np.array_equal(smooth, compress_clip(frames, codec, crf=40, preset="veryfast", deblock=False))
    assert not np.array_equal(smooth, compress_clip(frames, codec, crf=40, preset="ultrafast"))


def test_key_frame_distance_reaches_the_encoder() -> None:
    frames = moving_texture(12)
    first, second = (compress_clip(frames, "mpeg4", crf=12, gop=gop) for gop in (1, 12))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "theora", "crf": 20}, "unknown codec 'theora'"),
        ({}, "exactly one of crf and bit_rate"),
        ({"crf": 20, "bit_rate": 1000}, "exactly one of crf and bit_rate"),
        ({"codec": "mpeg4", "crf": 40}, r"must be in 1\.\.31"),
        ({"bit_rate": 0}, "must be positive"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        compress_clip(moving_texture(1), **options)  # type: ignore[arg-type]


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(OptionError, match=r"uint8 \[T, H, W, 3\], got float64"):
        compress_clip(np.zeros((1, 8, 8, 3)), crf=20)


def test_lossless_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 33, 47, 3), dtype=np.uint8)
    write_lossless(tmp_path / "clip.mkv", frames, Fraction(30000, 1001))
    np.testing.assert_array_equal(read_clip(tmp_path / "clip.mkv"), frames)
    np.testing.assert_array_equal(read_clip(tmp_path / "clip.mkv", 1, 2, 2), frames[1::2])
    assert clip_frame_rate(tmp_path / "clip.mkv") == Fraction(30000, 1001)


@pytest.mark.parametrize("height", [64, 720])
def test_small_clips_keep_their_colours_and_sound(tmp_path: Path, height: int) -> None:
    frames = np.broadcast_to(np.array((200, 40, 90), dtype=np.uint8), (5, height, 64, 3)).copy()
    sound = 0.1 * np.sin(np.arange(9600) / 20, dtype=np.float32)
    write_clip(tmp_path / "clip.mp4", frames, 25, crf=10, sound=np.stack([sound, sound]))
    np.testing.assert_allclose(read_clip(tmp_path / "clip.mp4").astype(int), frames, atol=4)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert np.abs(heard).max() == pytest.approx(0.1, rel=0.2)
    assert hdr_transfer(tmp_path / "clip.mp4") is None


def test_full_range_sources_are_read_as_such(tmp_path: Path) -> None:
    target = tmp_path / "full.mkv"
    with av.open(str(target), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        grey = av.VideoFrame.from_ndarray(np.full((48, 32), 128, dtype=np.uint8), format="yuvj420p")
        grey.planes[0].update(bytes([230]) * grey.planes[0].buffer_size)
        container.mux(stream.encode(grey))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(read_clip(target).astype(int), 230, atol=3)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="there is no file"):
        read_clip(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    for read in (read_clip, hdr_transfer, clip_frame_rate):
        with pytest.raises(UnreadableInputError):
            read(tmp_path / "text.mp4")
    write_lossless(tmp_path / "short.mkv", moving_texture(2))
    with pytest.raises(UnreadableInputError, match="no frame from index 5"):
        read_clip(tmp_path / "short.mkv", 5)
