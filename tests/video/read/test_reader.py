from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from starvsr.errors import OptionError
from starvsr.video import VideoReader, probe
from tests.video.clips import make_clip, moving_bars


def times(path: Path, **kwargs: Any) -> list[Fraction]:
    with VideoReader(path, **kwargs) as reader:
        return [frame.pts * frame.time_base for frame in reader]


def test_probe_tells_what_is_in_the_file(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mp4",
        rate=Fraction(30000, 1001),
        time_base=Fraction(1001, 30000),
        tags=(1, 1, 1, 1),
        aspect=Fraction(4, 3),
        audio=["aac"],
        metadata={"title": "bars"},
        chapters=[(0, 100, "one"), (100, 260, "two")],
    )
    info = probe(path)
    assert (info.width, info.height, info.num_frames) == (64, 48, 8)
    assert info.frame_rate == Fraction(30000, 1001)
    assert info.sample_aspect_ratio == Fraction(4, 3)
    assert info.color.describe() == "bt709, limited"
    assert info.metadata["title"] == "bars"
    assert [c.metadata["title"] for c in info.chapters] == ["one", "two"]
    assert [s.kind for s in info.streams if s.kind != "data"] == ["video", "audio"]
    assert info.has_audio
    assert not info.has_alpha
    assert not info.interlaced


def test_frames_come_in_order_with_pixels_near_the_originals(tmp_path: Path) -> None:
    originals = moving_bars(8)
    path = make_clip(tmp_path / "a.mp4", originals, pix_fmt="yuv444p", options={"bf": "3"})
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [f.index for f in frames] == list(range(8))
    assert [f.pts * f.time_base for f in frames] == [Fraction(i, 25) for i in range(8)]
    for frame, original in zip(frames, originals, strict=True):
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels.astype(int) - original).mean() < 3


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    reader = VideoReader(make_clip(tmp_path / "a.mp4"))
    first, second = [f.pixels for f in reader], [f.pixels for f in reader]
    assert np.array_equal(np.stack(first), np.stack(second))


def test_variable_rate_and_start_offset_are_kept_to_the_tick(tmp_path: Path) -> None:
    pts = [9000, 12003, 12999, 30000, 30001, 90000]
    path = make_clip(tmp_path / "v.mp4", count=6, time_base=Fraction(1, 90000), pts=pts)
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [f.pts * f.time_base for f in frames] == [Fraction(p, 90000) for p in pts]
    assert [f.duration * f.time_base for f in frames[:-1]] == [Fraction(b - a, 90000) for a, b in pairwise(pts)]


@pytest.mark.parametrize(("degrees", "turns"), [(-90, -1), (90, 1), (180, 2)])
def test_rotation_is_applied_to_the_pixels(tmp_path: Path, degrees: int, turns: int) -> None:
    originals = moving_bars(2)
    path = make_clip(tmp_path / "r.mp4", originals, pix_fmt="yuv444p", rotation=degrees, aspect=Fraction(4, 3))
    info = probe(path)
    upright = np.stack([np.rot90(frame, turns) for frame in originals])
    assert (info.height, info.width) == upright.shape[1:3]
    assert info.sample_aspect_ratio == (Fraction(3, 4) if turns % 2 else Fraction(4, 3))
    with VideoReader(path) as reader:
        pixels = np.stack([f.pixels for f in reader])
    assert np.abs(pixels.astype(int) - upright).mean() < 3


def test_raw_stream_without_timestamps_counts_by_its_rate(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "raw.264", count=5)
    assert times(path) == [Fraction(i, 25) for i in range(5)]
    assert times(path, frame_rate=Fraction(24000, 1001)) == [Fraction(1001 * i, 24000) for i in range(5)]


def test_transport_stream_starts_at_zero(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", count=6, time_base=Fraction(1, 25), pts=range(1000, 1006))
    assert probe(path).origin == 40
    assert times(path) == [Fraction(i, 25) for i in range(6)]


def test_gif_keeps_its_delays(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.gif"
    images = [Image.fromarray(f) for f in moving_bars(4)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100, 50, 200, 80])
    info = probe(path)
    assert not info.has_alpha
    assert times(path) == [Fraction(0), Fraction(1, 10), Fraction(15, 100), Fraction(35, 100)]


@pytest.mark.parametrize("alpha", [False, True])
def test_animated_webp(tmp_path: Path, alpha: bool) -> None:
    from PIL import Image

    originals = moving_bars(3, channels=4 if alpha else 3)
    path = tmp_path / "a.webp"
    images = [Image.fromarray(f) for f in originals]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[40, 70, 90], lossless=True, exact=True)
    assert probe(path).has_alpha is alpha
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [f.pts for f in frames] == [0, 40, 110]
    assert frames[-1].duration == 90
    pixels = np.stack([f.pixels for f in frames])
    seen = originals[..., 3] > 0 if alpha else np.ones(originals.shape[:3], bool)  # WebP clears hidden colours
    assert np.array_equal(pixels[seen], originals[seen])


@pytest.mark.parametrize(("start", "duration"), [("0.1", None), ("0.08", "0.12"), (None, "0.2"), ("0.28", "9")])
def test_start_and_duration_choose_the_same_frames_as_cutting(
    tmp_path: Path, start: str | None, duration: str | None
) -> None:
    path = make_clip(tmp_path / "a.mp4", count=12, options={"g": "5", "bf": "2"})
    begin = Fraction(start or 0)
    end = begin + Fraction(duration) if duration else Fraction(99)
    with VideoReader(path) as reader:
        wanted = [f for f in reader if begin <= f.pts * f.time_base < end]
    with VideoReader(
        path, start=Fraction(start) if start else None, duration=Fraction(duration) if duration else None
    ) as part:
        got = list(part)
    assert [f.pts for f in got] == [f.pts for f in wanted]
    assert [f.index for f in got] == list(range(len(wanted)))
    assert np.array_equal(got[0].pixels, wanted[0].pixels)
    assert np.array_equal(got[-1].pixels, wanted[-1].pixels)


@pytest.mark.parametrize("arguments", [{"start": Fraction(-1)}, {"duration": Fraction(0)}, {"start": Fraction(50)}])
def test_impossible_ranges_are_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    path = make_clip(tmp_path / "a.mp4")
    with pytest.raises(OptionError):
        VideoReader(path, **arguments)


def test_a_start_behind_the_last_frame_is_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.264")
    with pytest.raises(OptionError, match="behind the end"):
        list(VideoReader(path, start=Fraction(50)))


@pytest.mark.parametrize("choice", [{"deinterlace": "maybe"}, {"on_corrupt": "ignore"}])
def test_unknown_choices_are_refused(tmp_path: Path, choice: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="must be one of"):
        VideoReader(make_clip(tmp_path / "a.mp4"), **choice)  # type: ignore[arg-type]


def test_interlaced_input_is_deinterlaced_frame_for_frame(tmp_path: Path) -> None:
    frames = np.zeros((6, 64, 64, 3), np.uint8)
    for t in range(6):  # a bar that moves by 4 pixels a field: comb teeth in every frame
        frames[t, 0::2, 8 * t : 8 * t + 12] = 255
        frames[t, 1::2, 8 * t + 4 : 8 * t + 16] = 255
    path = make_clip(tmp_path / "i.mkv", frames, pix_fmt="yuv444p", interlaced=True, options={"flags": "+ildct+ilme"})
    info = probe(path)
    assert info.interlaced

    def comb(pixels: np.ndarray) -> float:
        rows = pixels[..., 1].astype(int)
        return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())

    with VideoReader(path, deinterlace="off") as reader:
        woven = list(reader)
    with VideoReader(path) as reader:
        clean = list(reader)
        assert any("interlaced" in note for note in reader.notes)
    assert [f.pts for f in clean] == [f.pts for f in woven]
    assert len(clean) == 6
    assert comb(clean[3].pixels) < 0.5 * comb(woven[3].pixels)


def test_deinterlacing_a_single_frame_keeps_it(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", count=1)
    assert len(list(VideoReader(path, deinterlace="on"))) == 1


def test_progressive_input_is_left_alone_by_auto(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    with VideoReader(path) as auto, VideoReader(path, deinterlace="off") as off:
        for one, other in zip(auto, off, strict=True):
            assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "bits"),
    [
        ("libx264", "yuv420p10le", ".mkv", 10),
        ("libx265", "yuv444p12le", ".mkv", 12),
        ("ffv1", "gray", ".mkv", 8),
        ("ffv1", "gray16le", ".mkv", 16),
        ("ffv1", "gbrp10le", ".mkv", 10),
        ("ffv1", "bgra", ".mkv", 8),
        ("ffv1", "yuva444p10le", ".mkv", 10),
        ("mjpeg", "yuvj420p", ".avi", 8),
        ("mpeg4", "yuv420p", ".avi", 8),
        ("libvpx-vp9", "yuv440p", ".webm", 8),
    ],
)
def test_pixel_formats_are_read(tmp_path: Path, codec: str, pix_fmt: str, suffix: str, bits: int) -> None:
    info = probe(make_clip(tmp_path / f"a{suffix}", count=3, size=(64, 64), codec=codec, pix_fmt=pix_fmt))
    assert info.bit_depth == bits
    with VideoReader(info.path) as reader:
        frames = list(reader)
    assert len(frames) == 3
    assert frames[0].pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert frames[0].pixels.shape == (64, 64, 4 if info.has_alpha else 3)
    top = np.iinfo(frames[0].pixels.dtype).max
    luma = moving_bars(3, 64, 64)[0].astype(float) @ [0.299, 0.587, 0.114] / 255
    got = frames[0].pixels[..., :3].astype(float) @ [0.299, 0.587, 0.114] / top
    assert np.abs(got - luma).mean() < 0.03


def test_size_changes_within_the_file_are_scaled_and_noted(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "1.264", count=3, size=(64, 48))
    two = make_clip(tmp_path / "2.264", count=3, size=(96, 80))
    path = tmp_path / "both.264"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    with VideoReader(path) as reader:
        shapes = {frame.pixels.shape for frame in reader}
        assert reader.num_frames_read == 6
        assert any("size changes" in note for note in reader.notes)
    assert shapes == {(48, 64, 3)}


def test_cover_art_is_not_taken_for_the_video(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "v.mp4")
    path = tmp_path / "with_cover.mp4"
    with av.open(str(video)) as source, av.open(str(path), "w") as out:
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copy = out.add_stream_from_template(source.streams.video[0], opaque=True)
        frame = av.VideoFrame(32, 32, "yuvj420p")
        frame.pts = 0
        out.mux(cover.encode(frame))
        out.mux(cover.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    info = probe(path)
    assert (info.width, info.height) == (64, 48)
    assert "cover" in [s.kind for s in info.streams]
    assert len(list(VideoReader(path))) == 8


def test_times_that_do_not_increase_are_moved_by_a_tick_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for index, pixels in enumerate(moving_bars(6)):
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuvj420p")
            frame.pts, frame.time_base = index, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        out.start_encoding()
        for packet, time in zip(packets, [0, 40, 40, 80, 81, 120], strict=True):
            packet.pts = packet.dts = time
            out.mux_one(packet)
    with VideoReader(path) as reader:
        assert [f.pts for f in reader] == [0, 40, 41, 80, 81, 120]
        assert any("do not increase" in note for note in reader.notes)


def test_one_frame_without_a_stated_rate_is_shown_for_the_usual_time(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.ts", count=1, time_base=Fraction(1, 90000), pts=[0])
    with VideoReader(source) as reader:
        (frame,) = list(reader)
    assert reader.info.frame_rate == 25  # nothing but the clock of 90 kHz is known
    assert frame.duration * frame.time_base == Fraction(1, 25)
