"""Animated GIF, WebP and PNG, and stills in more formats, as outputs; asked of Pillow and of FFmpeg's program."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

import starvsr
from starvsr.errors import OptionError
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from tests.video.clips import make_clip, moving_bars
from tests.video.frames import copy, read, times

DURATIONS = [100, 50, 70, 200, 30]


def animation(path: Path, *, alpha: bool = False, **more: Any) -> list[np.ndarray]:
    """Save by Pillow what every format here holds exactly: 16 colours, times in 1/100 s."""
    y, x = np.mgrid[:48, :64]
    frames = []
    for step in range(len(DURATIONS)):
        flat = np.stack([(x + 8 * step) // 16 * 60 % 256, y // 12 * 60, np.full_like(x, 90)], -1)
        clear = np.where((x + step) % 9 < 3, 0, 255)[..., None]
        frames.append(
            np.concatenate([flat * (clear > 0), clear], -1).astype(np.uint8) if alpha else flat.astype(np.uint8)
        )
    pictures = [Image.fromarray(frame) for frame in frames]
    kind = "PNG" if path.suffix == ".apng" else None
    settings = {"lossless": True} if path.suffix == ".webp" else {}
    pictures[0].save(
        path, kind, save_all=True, append_images=pictures[1:], duration=DURATIONS, disposal=2, **settings, **more
    )
    return frames


def shown(path: Path, mode: str) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as image:
        found = [(np.asarray(f.convert(mode)), round(f.info["duration"])) for f in ImageSequence.Iterator(image)]
    return [pixels for pixels, _ in found], [duration for _, duration in found]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("source", ["gif", "webp", "apng"])
@pytest.mark.parametrize("target", ["gif", "webp", "apng"])
def test_animations_keep_pictures_times_and_loops(tmp_path: Path, source: str, target: str, alpha: bool) -> None:
    before, after = tmp_path / f"a.{source}", tmp_path / f"o.{target}"
    loops = {"gif": 2, "webp": 3, "apng": 3}  # all are played three times
    animation(before, alpha=alpha, loop=loops[source])
    copy(before, after, options=EncodeOptions(codec="webp_lossless" if target == "webp" else None))
    mode = "RGBA" if alpha else "RGB"
    wanted, seen = shown(before, mode), shown(after, mode)
    assert seen[1] == wanted[1] == DURATIONS
    for one, other in zip(wanted[0], seen[0], strict=True):
        if alpha:
            assert np.array_equal(one[..., 3], other[..., 3])
            one, other = one * (one[..., 3:] > 0), other * (other[..., 3:] > 0)
        assert np.array_equal(one, other)
    with Image.open(after) as image:
        assert image.info["loop"] == loops[target]
    assert [float(length) for _, length in times(after)] == pytest.approx([d / 1000 for d in DURATIONS])


@pytest.mark.parametrize(("source", "plays"), [("a.gif", 0), ("a.webp", 0), ("a.apng", 0), ("once.gif", 1)])
def test_how_often_it_is_played(tmp_path: Path, source: str, plays: int) -> None:
    animation(tmp_path / source, **({} if plays else {"loop": 0}))
    assert probe(tmp_path / source).num_plays == plays
    for out in ("o.gif", "o.webp", "o.apng"):
        copy(tmp_path / source, tmp_path / out)
        assert probe(tmp_path / out).num_plays == plays, out


@pytest.mark.parametrize("suffix", ["gif", "webp", "apng"])
def test_there_and_back_through_a_video(tmp_path: Path, suffix: str) -> None:
    frames = animation(tmp_path / f"a.{suffix}", loop=0)
    copy(tmp_path / f"a.{suffix}", tmp_path / "o.mkv", options=EncodeOptions(codec="ffv1"))
    copy(tmp_path / "o.mkv", tmp_path / f"b.{suffix}", options=EncodeOptions())
    seen, durations = shown(tmp_path / f"b.{suffix}", "RGB")
    assert durations == DURATIONS
    for one, other in zip(frames, seen, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4  # limited range in between; GIF's and WebP's own loss


def test_gif_of_many_colours_stands_still(tmp_path: Path) -> None:
    frame = moving_bars(1, 96, 128)[0]
    with VideoWriter(tmp_path / "o.gif", source=None, width=128, height=96, frame_rate=Fraction(25)) as writer:
        for index in range(3):
            writer.write(frame, index, 1)
    first, second, third = read(tmp_path / "o.gif")
    assert np.array_equal(first, second) and np.array_equal(first, third)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 200
    assert np.abs(first.astype(int) - frame).mean() < 6


def test_times_that_do_not_fit_never_drift(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", count=30, rate=Fraction(30000, 1001))
    for suffix, unit in (("gif", 100), ("webp", 1000)):
        writer = copy(source, tmp_path / f"o.{suffix}", options=EncodeOptions())
        assert [note for note in writer.notes if f"1/{unit} s" in note]
        start = Fraction(0)
        for (_, wanted), (_, length) in zip(times(source), times(tmp_path / f"o.{suffix}"), strict=True):
            start += length - wanted
            assert abs(start) <= Fraction(1, unit)
    assert not [note for note in copy(source, tmp_path / "o.apng", options=EncodeOptions()).notes if "rounded" in note]
    assert (tmp_path / "o.apng").read_bytes().count(struct.pack(">2H", 1001, 30000)) == 30
    fast = make_clip(tmp_path / "b.mp4", count=4, rate=Fraction(60))
    assert [note for note in copy(fast, tmp_path / "f.gif", options=EncodeOptions()).notes if "more slowly" in note]


@pytest.mark.parametrize("out", ["o.gif", "o.webp", "o.apng", "o.tif", "o.avif", "o.png"])
def test_one_picture_is_a_still(tmp_path: Path, out: str) -> None:
    Image.fromarray(moving_bars(1)[0]).save(tmp_path / "a.png")
    result = starvsr.upscale(tmp_path / "a.png", tmp_path / out, model="bicubic", scale=2, threads=1)
    with Image.open(tmp_path / out) as image:
        assert image.size == (128, 96)
        assert getattr(image, "n_frames", 1) == 1
    assert not [note for note in result.notes if "rounded" in note]


@pytest.mark.parametrize("out", ["o.tif", "o.tiff", "o.png", "o.apng"])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_are_kept(tmp_path: Path, out: str, alpha: bool) -> None:
    pixels = np.random.default_rng(3).integers(0, 1 << 16, (20, 30, 4 if alpha else 3), dtype=np.uint16)
    with VideoWriter(tmp_path / out, source=None, width=30, height=20, bit_depth=16, alpha=alpha) as writer:
        writer.write(pixels, 0, 1)
    assert np.array_equal(read(tmp_path / out)[0], pixels)


def test_webp_and_tiff_in_folders_by_pattern(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", count=3)
    for suffix in ("webp", "tif", "jpg"):
        (tmp_path / suffix).mkdir()
        copy(source, tmp_path / suffix / f"f_%03d.{suffix}", options=EncodeOptions())
        assert sorted(file.name for file in (tmp_path / suffix).iterdir()) == [f"f_00{n}.{suffix}" for n in (1, 2, 3)]
        assert len(read(tmp_path / suffix)) == 3


@pytest.mark.parametrize("out", ["o.gif", "o.webp", "o.apng"])
def test_a_killed_job_goes_on_to_the_same_bytes(tmp_path: Path, out: str) -> None:
    source = make_clip(tmp_path / "a.mp4", count=20)
    whole = starvsr.upscale(source, tmp_path / out, model="bicubic", scale=1, threads=1)
    assert whole.num_frames == 20
    expected = (tmp_path / out).read_bytes()

    class Stop(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.num_done >= 10:
            raise Stop

    with pytest.raises(Stop):
        starvsr.upscale(source, tmp_path / f"2{out}", model="bicubic", scale=1, threads=1, on_progress=stop)
    assert not (tmp_path / f"2{out}").exists()
    starvsr.upscale(source, tmp_path / f"2{out}", model="bicubic", scale=1, threads=1)
    assert (tmp_path / f"2{out}").read_bytes() == expected


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("o.gif", {"crf": 20}, "no --crf"),
        ("o.webp", {"preset": "fast"}, "no --preset"),
        ("o.tif", {"pixel_format": "rgb24"}, "no --pixel-format"),
        ("o.webp", {"codec": "libx264"}, "webp or webp_lossless"),
        ("o.gif", {"codec": "libx264"}, "images take no codec"),
    ],
)
def test_options_of_videos_are_refused(tmp_path: Path, out: str, options: dict[str, Any], message: str) -> None:
    source = make_clip(tmp_path / "a.mp4", count=2)
    with pytest.raises(OptionError, match=message):
        starvsr.upscale(source, tmp_path / out, model="bicubic", scale=1, threads=1, **options)


def test_sizes_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    for name, side in (("o.webp", 16384), ("o.jpg", 65536), ("o.gif", 65536)):
        with pytest.raises(OptionError, match="pixels a side"):
            VideoWriter(tmp_path / name, source=None, width=side, height=2)


def test_sound_that_animations_do_not_hold_is_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", count=4, audio=["aac"])
    with VideoReader(source) as reader:
        assert reader.info.has_audio
    assert [note for note in copy(source, tmp_path / "o.webp", options=EncodeOptions()).notes if "sound" in note]
