"""Folders of images, animations and transparency: every picture arrives, in its order, and exactly where it can."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.video.exactness.clips import numbered_luma
from tests.video.exactness.facts import ffmpeg, shown_by_ffmpeg, shown_by_pyav
from tests.video.exactness.properties import holds, identity
from tests.video.exactness.strategies import FFV1, MKV, MOV, MP4, RATES, WEBM, Target, sides

FOLDER = Target("out")
PNG_KINDS = {"gray": 1, "gray16": 1, "rgb": 3, "rgba": 4, "rgb16": 3, "rgba16": 4}
_PNG_FORMATS = {"rgb16": "rgb48be", "rgba16": "rgba64be"}


@dataclass(frozen=True)
class Album:
    """Images in a folder, or the frames of an animation."""

    kind: str
    width: int
    height: int
    count: int
    seed: int
    target: Target
    rate: Fraction = Fraction(24)
    delays: tuple[int, ...] = ()
    orientation: int = 1


@st.composite
def png_albums(draw: st.DrawFn) -> Album:
    """Draw PNG files of all kinds and an output that loses nothing of them."""
    return Album(
        draw(st.sampled_from(sorted(PNG_KINDS))),
        draw(sides(16, 128)),
        draw(sides(16, 128)),
        draw(st.integers(1, 6)),
        draw(st.integers(0, 1 << 16)),
        draw(st.sampled_from([FOLDER, FOLDER, Target("out/f_%03d.png"), Target("out.mkv", (("codec", "ffv1"),))])),
        rate=draw(st.sampled_from(RATES)),
    )


@holds("folders of PNG, 8 and 16 bits, with and without alpha", png_albums(), few=6, many=80)
def test_png_files_come_back_sample_for_sample(album: Album, folder: Path) -> None:
    """As PNG files exactly; as FFV1 in 4:4:4 within two codes of red, green and blue, and alpha exactly."""
    source = folder / "in"
    source.mkdir()
    drawn = [_png(album, number) for number in range(album.count)]
    for number, samples in enumerate(drawn):
        _write_png(source / f"{number + 1}.png", samples, album.kind)
    (folder / "out").mkdir()
    out = folder / album.target.name
    result = identity(source, out, frame_rate=album.rate, overwrite=True, **album.target.arguments)
    assert result.num_frames == album.count
    if out.suffix == ".mkv":
        times = shown_by_pyav(out).times
        assert max(abs(time - number / album.rate) for number, time in enumerate(times)) <= Fraction(1, 2000)
        assert len(times) == album.count
        return
    found = sorted((folder / "out").iterdir(), key=lambda path: int("".join(c for c in path.stem if c.isdigit())))
    assert len(found) == album.count
    for path, samples in zip(found, drawn, strict=True):
        assert np.array_equal(_read_png(path, album), _as_rgb(samples))


def _png(album: Album, number: int) -> np.ndarray:
    chance = np.random.default_rng([album.seed, number])
    dtype = np.uint16 if album.kind.endswith("16") else np.uint8
    size = (album.height, album.width, PNG_KINDS[album.kind])
    samples = chance.integers(0, np.iinfo(dtype).max, size, dtype, endpoint=True)
    if size[2] == 4:
        samples[0, 0, 3] = 0  # an alpha channel that is full everywhere is none
    return samples


def _as_rgb(samples: np.ndarray) -> np.ndarray:
    return samples.repeat(3, 2) if samples.shape[2] == 1 else samples


def _write_png(path: Path, samples: np.ndarray, kind: str) -> None:
    if kind in _PNG_FORMATS:
        context: Any = av.CodecContext.create("png", "w")
        context.width, context.height, context.pix_fmt = samples.shape[1], samples.shape[0], _PNG_FORMATS[kind]
        context.time_base = Fraction(1)
        frame = av.VideoFrame(samples.shape[1], samples.shape[0], _PNG_FORMATS[kind])
        rows = np.frombuffer(frame.planes[0], ">u2").reshape(samples.shape[0], -1)
        rows[:, : samples.shape[1] * samples.shape[2]] = samples.reshape(samples.shape[0], -1)
        path.write_bytes(b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)]))
    else:
        Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples).save(path)


def _read_png(path: Path, album: Album) -> np.ndarray:
    wide = album.kind.endswith("16")
    channels = 4 if PNG_KINDS[album.kind] == 4 else 3
    pix_fmt = ("rgba64le" if wide else "rgba") if channels == 4 else ("rgb48le" if wide else "rgb24")
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")
    return np.frombuffer(raw, "<u2" if wide else np.uint8).reshape(album.height, album.width, channels)


@st.composite
def animations(draw: st.DrawFn) -> Album:
    """Draw GIF, APNG and WebP animations with pauses of any length."""
    count = draw(st.integers(2, 20))
    delays = draw(st.lists(st.integers(2, 120), min_size=count, max_size=count))
    return Album(
        draw(st.sampled_from(["gif", "apng", "webp"])),
        draw(sides(32, 128)),
        draw(sides(32, 128)),
        count,
        0,
        draw(st.sampled_from([MP4, MOV, MKV, FFV1, WEBM])),
        delays=tuple(10 * delay for delay in delays),
    )


@holds("GIF, APNG and WebP animations", animations(), few=5, many=60)
def test_animations_keep_frames_and_pauses(album: Album, folder: Path) -> None:
    source = folder / ("in.png" if album.kind == "apng" else f"in.{album.kind}")
    pictures = [
        Image.fromarray(np.dstack([numbered_luma(number + 1, album.height, album.width, 20, 230)] * 3).astype(np.uint8))
        for number in range(album.count)
    ]
    more = {"lossless": True} if album.kind == "webp" else {}
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=list(album.delays), loop=0, **more)
    out = folder / album.target.name
    result = identity(source, out, **album.target.arguments)
    assert result.num_frames == album.count
    starts = [Fraction(sum(album.delays[:number]), 1000) for number in range(album.count)]
    for shown in (shown_by_pyav(out), shown_by_ffmpeg(out, folder)):
        assert shown.numbers == tuple(range(1, album.count + 1))
        assert max(abs(a - b) for a, b in zip(shown.times, starts, strict=True)) <= album.target.rounding


@st.composite
def photos(draw: st.DrawFn) -> Album:
    """Draw a photo with one of the eight orientations of EXIF."""
    return Album(
        draw(st.sampled_from(["jpg", "png", "tif", "webp"])),
        draw(sides(16, 96)),
        draw(sides(16, 96)),
        1,
        0,
        draw(st.sampled_from([Target("out.png"), Target("out"), Target("out.mp4", (("preset", "ultrafast"),))])),
        orientation=draw(st.integers(1, 8)),
    )


@holds("the eight orientations of photos", photos(), few=6, many=60)
def test_photos_are_shown_as_exif_says(album: Album, folder: Path) -> None:
    from PIL import ImageOps

    number = numbered_luma(0b10110100, album.height, album.width, 20, 230).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = album.orientation
    (folder / "in").mkdir()
    source = folder / "in" / f"photo.{album.kind}"
    Image.fromarray(np.dstack([number] * 3)).save(source, exif=exif, **({"quality": 95} if album.kind == "jpg" else {}))
    out = folder / album.target.name
    identity(source.parent if album.target.name == "out" else source, out, **album.target.arguments)
    first = out / "photo.png" if album.target.name == "out" else out
    with Image.open(source) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("L")).astype(int)
    raw = ffmpeg("-i", first, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    found = np.frombuffer(raw, np.uint8).reshape(wanted.shape).astype(int)
    assert np.mean(np.abs(found - wanted) > 60) < 0.1  # chroma and edges of squares through JPEG and H.264
