from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starvsr.errors import OptionError, OutputError
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from starvsr.video.info import ColorTags, MasteringDisplay, VideoInfo
from tests.video.clips import make_clip, moving_bars, packets_of

QUICK = EncodeOptions(preset="ultrafast")


def copy(source: Path, out: Path, *, options: EncodeOptions = QUICK, **reading: Any) -> VideoWriter:
    """Read everything and write it again."""
    with VideoReader(source, **reading) as reader:
        info = reader.info
        with VideoWriter(
            out, source=info, width=info.width, height=info.height, options=options, time_range=reader.time_range
        ) as writer:
            for frame in reader:
                writer.write(frame.pixels, frame.pts, frame.duration)
    return writer


def times(path: Path) -> list[tuple[Fraction, Fraction]]:
    with VideoReader(path) as reader:
        return [(f.pts * f.time_base, f.duration * f.time_base) for f in reader]


def write(out: Path, frames: np.ndarray, options: EncodeOptions | None = None, **kwargs: Any) -> VideoWriter:
    height, width, channels = frames.shape[1:]
    with VideoWriter(
        out, source=None, width=width, height=height, options=options, alpha=channels == 4, **kwargs
    ) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, index, 1)
    return writer


def pixels_of(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return np.stack([f.pixels for f in reader])


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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("size", [(33, 17), (64, 17), (33, 48)])
def test_odd_sizes_stay_exact_and_are_noted(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    out = tmp_path / f"out{suffix}"
    writer = write(out, moving_bars(3, size[1], size[0]), QUICK)
    assert (probe(out).width, probe(out).height) == size
    assert probe(out).pixel_format == "yuv444p"
    assert any("odd" in note for note in writer.notes)


@pytest.mark.parametrize("size", [(67, 65), (17, 129), (255, 16)])
def test_ffv1_takes_odd_sizes_in_420(tmp_path: Path, size: tuple[int, int]) -> None:
    options = EncodeOptions(codec="ffv1", pixel_format="yuv420p")
    write(tmp_path / "a.mkv", moving_bars(2, size[1], size[0]), options)
    info = probe(tmp_path / "a.mkv")
    assert (info.width, info.height, info.pixel_format) == (*size, "yuv420p")


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "wanted"),
    [
        ("a.mp4", "libx264", None, ("h264", "yuv420p")),
        ("a.mp4", "hevc", None, ("hevc", "yuv420p")),
        ("a.mp4", "av1", None, ("av1", "yuv420p")),
        ("a.mkv", "libsvtav1", "yuv420p10le", ("av1", "yuv420p10le")),
        ("a.mkv", "vp9", None, ("vp9", "yuv420p")),
        ("a.mov", "prores", None, ("prores", "yuv422p10le")),
        ("a.mkv", "ffv1", "gbrp12le", ("ffv1", "gbrp12le")),
        ("a.mkv", "libx264", "yuv422p10le", ("h264", "yuv422p10le")),
        ("a.mkv", "libx265", "yuv444p12le", ("hevc", "yuv444p12le")),
    ],
)
def test_encoders(tmp_path: Path, name: str, codec: str, pix_fmt: str | None, wanted: tuple[str, str]) -> None:
    frames = moving_bars(4, 64, 96)
    write(tmp_path / name, frames, EncodeOptions(codec=codec, pixel_format=pix_fmt))
    info = probe(tmp_path / name)
    assert (info.codec.removeprefix("libdav1d") or "av1", info.pixel_format) == wanted
    back = pixels_of(tmp_path / name)
    scale = 1 if back.dtype == np.uint8 else 257
    assert np.abs(back / scale - frames).mean() < 4
    if codec == "hevc":
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "prores"),
        ("a.mkv", "libx264"),
        ("a.mkv", "av1"),
        ("a.mkv", "ffv1"),
        ("a.webm", "vp9"),
    ],
)
def test_sample_aspect_ratio_is_kept(tmp_path: Path, name: str, codec: str) -> None:
    source = make_clip(tmp_path / "in.mp4", aspect=Fraction(16, 11), count=3, size=(88, 64))
    copy(source, tmp_path / name, options=EncodeOptions(codec=codec))
    info = probe(tmp_path / name)
    assert info.sample_aspect_ratio == Fraction(16, 11)
    assert info.rotation == 0
    assert len(times(tmp_path / name)) == 3


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", EncodeOptions(), "cannot write .avi"),
        ("a.mp4", EncodeOptions(codec="prores"), "cannot hold prores_ks"),
        ("a.webm", EncodeOptions(codec="libx264"), "cannot hold libx264"),
        ("a.mp4", EncodeOptions(codec="divx"), "no encoder known"),
        ("a.mp4", EncodeOptions(crf=99), "goes from 0 to 51"),
        ("a.mov", EncodeOptions(codec="prores", crf=9), "has no crf"),
        ("a.mkv", EncodeOptions(codec="ffv1", preset="slow"), "has no preset"),
        ("a.mp4", EncodeOptions(pixel_format="yuv411p"), "does not take yuv411p"),
        ("a.mp4", EncodeOptions(preset="warp"), "refuses these settings"),
        ("a.mp4", EncodeOptions(alpha="maybe"), "alpha must be one of"),
        ("a.mp4", EncodeOptions(codec="h264_nvenc"), "does not work on this machine"),
        ("out", EncodeOptions(codec="libx264"), "images take no codec"),
        ("a.mp4", EncodeOptions(codec="libx265"), "needs 64 pixels"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(
    tmp_path: Path, name: str, options: EncodeOptions, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        VideoWriter(tmp_path / name, source=None, width=64, height=48, options=options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        outs = [tmp_path / f"{i}{suffix}" for i in range(2)]
        for out in outs:
            write(out, moving_bars(4))
        assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.mp4", "hevc"), ("a.webm", "vp9"), ("a.mp4", "av1")])
def test_larger_frames_give_the_same_bytes_on_one_core_and_on_all(tmp_path: Path, name: str, codec: str) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    frames = np.stack([np.roll(texture, (i * 3, i * 2), (0, 1))[:128, :192] for i in range(12)])
    preset = {"h264": "veryfast", "hevc": "ultrafast", "vp9": "8", "av1": "12"}[codec]
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    digests = set()
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            if cores:
                os.sched_setaffinity(0, {min(cores)} if number % 2 else cores)
            write(folder / name, frames, EncodeOptions(codec=codec, preset=preset))
        finally:
            if cores:
                os.sched_setaffinity(0, cores)
        digests.add((folder / name).read_bytes())
    assert len(digests) == 1


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_one_and_two_pictures_make_a_video(codec: str, count: int, tmp_path: Path) -> None:
    for attempt in range(5):  # x265 left decoding times to chance
        path = tmp_path / f"{attempt}.mp4"
        with VideoWriter(path, source=None, width=64, height=64, options=EncodeOptions(codec=codec)) as writer:
            for index in range(count):
                writer.write(np.zeros((64, 64, 3), np.uint8), index, 1)
        with VideoReader(path) as reader:
            assert sum(1 for _ in reader) == count


def test_encoders_are_silent(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom starvsr.video import *\n"
        "f = np.zeros((64, 64, 3), np.uint8)\n"
        "for name, codec in [('a.mp4', 'libx264'), ('b.mp4', 'libx265'), ('c.mkv', 'libsvtav1'), ('d.webm', None)]:\n"
        "    o = EncodeOptions(codec=codec)\n"
        "    with VideoWriter(Path(sys.argv[1]) / name, source=None, width=64, height=64, options=o) as w:\n"
        "        w.write(f, 0, 1)\n"
        "Path(sys.argv[1], 'x.mp4').write_bytes(b'junk' * 99)\n"
        "try: probe(Path(sys.argv[1]) / 'x.mp4')\nexcept Exception: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
