"""What a writer keeps of colours: tags, bits, HDR10 data, transparency; and what it says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.video import EncodeOptions, VideoWriter, probe
from starvsr.video.info import ColorTags, MasteringDisplay, VideoInfo
from tests.video.clips import make_clip, moving_bars
from tests.video.frames import copy, pixels_of, write


def test_ten_bits_through_an_identity_stay_within_one_code(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = (moving_bars(3, 32, 48).astype(np.uint16) * 257 + rng.integers(0, 257, (3, 32, 48, 3))).astype(np.uint16)
    lossless = EncodeOptions(codec="ffv1", pixel_format="yuv444p10le")
    write(tmp_path / "in.mkv", frames, lossless, bit_depth=10)
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv", options=lossless)

    def codes(path: Path) -> np.ndarray:
        with av.open(str(path)) as container:
            return np.stack(
                [
                    np.stack([np.frombuffer(p, np.uint16).reshape(p.height, -1)[:, : p.width] for p in f.planes])
                    for f in container.decode(video=0)
                ]
            )

    one, other = codes(tmp_path / "in.mkv"), codes(tmp_path / "out.mkv")
    assert one.max() > 255
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


HDR = ColorTags(
    9,
    1,
    9,
    16,
    MasteringDisplay(
        (Fraction(34000, 50000), Fraction(16000, 50000)),
        (Fraction(13250, 50000), Fraction(34500, 50000)),
        (Fraction(7500, 50000), Fraction(3000, 50000)),
        (Fraction(15635, 50000), Fraction(16450, 50000)),
        Fraction(50, 10000),
        Fraction(1000),
    ),
    (1000, 400),
)


def hdr_info() -> VideoInfo:
    return VideoInfo(
        path=Path("hdr"),
        kind="images",
        container="",
        codec="hevc",
        width=64,
        height=64,
        coded_width=64,
        coded_height=64,
        frame_rate=Fraction(24),
        time_base=Fraction(1, 24),
        pixel_format="yuv420p10le",
        bit_depth=10,
        color=HDR,
    )


@pytest.mark.parametrize("name", ["hdr.mp4", "hdr.mkv", "hdr_av1.mkv"])
def test_hdr10_stays_ten_bit_with_all_its_tags(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    frames = moving_bars(3, 64, 64).astype(np.uint16) * 257
    options = EncodeOptions(codec="libsvtav1" if "av1" in name else None, preset=None if "av1" in name else "ultrafast")
    with VideoWriter(out, source=hdr_info(), width=64, height=64, options=options) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index, 1)
    copy(out, tmp_path / "again.mkv")
    for path in (out, tmp_path / "again.mkv"):
        info = probe(path)
        assert info.bit_depth == 10
        assert info.color.is_hdr
        assert (info.color.matrix, info.color.primaries, info.color.transfer) == (9, 9, 16)
        assert info.color.content_light == (1000, 400)
        mastering = info.color.mastering
        assert mastering is not None
        assert float(mastering.red[0]) == pytest.approx(0.68, abs=1e-3)
        assert float(mastering.white[1]) == pytest.approx(0.329, abs=1e-3)
        assert float(mastering.max_luminance) == pytest.approx(1000, abs=1)
        assert float(mastering.min_luminance) == pytest.approx(0.005, abs=1e-3)


def test_full_range_becomes_limited_in_prores_which_knows_no_other(tmp_path: Path) -> None:
    frames = np.full((2, 64, 64, 3), 230, np.uint8)
    source = replace(hdr_info(), color=ColorTags(1, 2, 1, 1), bit_depth=8, pixel_format="yuvj420p")
    options = EncodeOptions(codec="prores")
    with VideoWriter(tmp_path / "a.mov", source=source, width=64, height=64, options=options) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index, 1)
    assert abs(pixels_of(tmp_path / "a.mov").astype(float).mean() / 257 - 230) < 1


def test_hdr10_data_goes_into_h264_and_is_named_where_it_is_lost(tmp_path: Path) -> None:
    frames = moving_bars(2, 64, 64).astype(np.uint16) * 257
    for name, codec in (("a.mkv", "libx264"), ("b.mov", "prores"), ("c.mkv", "ffv1")):
        with VideoWriter(
            tmp_path / name, source=hdr_info(), width=64, height=64, options=EncodeOptions(codec=codec)
        ) as writer:
            for index, frame in enumerate(frames):
                writer.write(frame, index, 1)
        color = probe(tmp_path / name).color
        is_kept = color.mastering is not None and color.content_light == (1000, 400)
        assert is_kept == (codec == "libx264")
        assert any("HDR10 data" in note for note in writer.notes) == (not is_kept)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_light_levels_that_nobody_stated_are_not_made_up(tmp_path: Path, codec: str) -> None:
    source = replace(hdr_info(), color=replace(hdr_info().color, content_light=None))
    with VideoWriter(
        tmp_path / "a.mkv", source=source, width=64, height=64, options=EncodeOptions(codec=codec)
    ) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint16), 0, 1)
    color = probe(tmp_path / "a.mkv").color
    assert (color.mastering is not None, color.content_light) == (True, None)


@pytest.mark.parametrize(
    "tags", [(5, 1, 5, 1), (6, 1, 6, 6), (1, 2, 1, 1), (9, 1, 9, 18)], ids=["pal", "ntsc", "full", "hlg"]
)
def test_colour_tags_are_carried_and_the_colours_stay(tmp_path: Path, tags: tuple[int, int, int, int]) -> None:
    bits = "10le" if tags[3] == 18 else ""
    source = make_clip(tmp_path / "in.mkv", pix_fmt=f"yuv444p{bits}", tags=tags, count=2)
    copy(source, tmp_path / "out.mkv", options=EncodeOptions(crf=1, preset="ultrafast", pixel_format=f"yuv444p{bits}"))
    one, other = probe(source).color, probe(tmp_path / "out.mkv").color
    assert other == one
    a, b = pixels_of(source), pixels_of(tmp_path / "out.mkv")
    assert np.abs(a.astype(int) - b.astype(int)).mean() < (1.5 if a.dtype == np.uint8 else 400)


@pytest.mark.parametrize(
    ("name", "codec", "bits"), [("a.mov", "prores", 10), ("a.mkv", "ffv1", 8), ("a.webm", "vp9", 8)]
)
def test_alpha_is_kept_where_it_can_be(tmp_path: Path, name: str, codec: str, bits: int) -> None:
    frames = moving_bars(3, channels=4)
    write(tmp_path / name, frames)
    info = probe(tmp_path / name)
    assert (info.codec.removeprefix("libvpx-"), info.has_alpha, info.bit_depth) == (codec, True, 12 if bits > 8 else 8)
    back = pixels_of(tmp_path / name)[..., 3] / (257 if bits > 8 else 1)
    assert np.abs(back - frames[..., 3]).mean() < 4


def test_alpha_that_cannot_be_kept_is_refused_or_dropped_when_asked(tmp_path: Path) -> None:
    frames = moving_bars(2, channels=4)
    with pytest.raises(OptionError, match="transparency"):
        write(tmp_path / "a.mp4", frames)
    assert list(tmp_path.iterdir()) == []
    writer = write(tmp_path / "a.mp4", frames, EncodeOptions(alpha="drop", crf=4))
    assert any("dropped" in note for note in writer.notes)
    black = frames[..., :3] * (frames[..., 3:] / 255)
    assert np.abs(pixels_of(tmp_path / "a.mp4") - black).mean() < 5
