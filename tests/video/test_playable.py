"""Copies that browsers play: the frames and times of the original, in codecs that are played everywhere."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starvsr.errors import LimitError, UnreadableInputError
from starvsr.video import VideoReader, playable, probe
from starvsr.video.playable import plays_anywhere, write_playable
from tests.video.clips import make_clip, moving_bars


def frames_of(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with VideoReader(path) as reader:
        return [(frame.pts * frame.time_base, frame.pixels) for frame in reader]


def same_pictures(path: Path, original: Path, tick: float = 0.0) -> bool:
    ours, theirs = frames_of(path), frames_of(original)
    assert len(ours) == len(theirs)
    for (time, picture), (wanted_time, wanted) in zip(ours, theirs, strict=True):
        assert abs(float(time - wanted_time)) <= tick
        deep = wanted.astype(float) / (257 if wanted.dtype == np.uint16 else 1)
        assert np.abs(picture - deep[:, :, :3]).mean() < 4
    return True


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "audio", "suffix", "codecs"),
    [
        ("a.mpg", "mpeg2video", "yuv420p", ["mp2"], ".webm", ("vp9", "opus")),
        ("a.mov", "prores_ks", "yuv422p10le", ["pcm_s16le"], ".webm", ("vp9", "opus")),
        ("a.mkv", "ffv1", "yuv444p", ["aac"], ".mp4", ("h264", "aac")),
        ("a.avi", "mpeg4", "yuv420p", [], ".mp4", ("h264", None)),
        ("a.mp4", "libx265", "yuv420p10le", ["aac"], ".mp4", ("h264", "aac")),
    ],
)
def test_frames_and_times_are_those_of_the_original(
    tmp_path: Path,
    name: str,
    codec: str,
    pixel_format: str,
    audio: list[str],
    suffix: str,
    codecs: tuple[str, str | None],
) -> None:
    original = make_clip(tmp_path / name, count=12, size=(80, 64), codec=codec, pix_fmt=pixel_format, audio=audio)
    info = probe(original)
    assert not plays_anywhere(info)
    counts: list[int] = []
    copy = write_playable(info, tmp_path / "copy", sound=True, isolate=False, on_frame=counts.append)
    assert copy.path == tmp_path / f"copy{suffix}" and copy.num_frames == 12 == counts[-1]
    made = probe(copy.path)
    sound = next((stream.codec for stream in made.streams if stream.kind == "audio"), None)
    assert (made.codec, sound) == codecs and copy.has_sound == (sound is not None)
    assert made.pixel_format == "yuv420p" and plays_anywhere(made)
    assert same_pictures(copy.path, original, 0.0006 if suffix == ".webm" else 0.0)
    silent = write_playable(info, tmp_path / "silent", sound=False, isolate=False)
    assert silent.path.suffix == ".mp4" and [s.kind for s in probe(silent.path).streams] == ["video"]
    assert same_pictures(silent.path, original)  # MP4 keeps times to the tick
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, f"copy{suffix}", "silent.mp4"])


def test_uneven_times_odd_sizes_and_transparency(tmp_path: Path) -> None:
    pts = [3, 4, 9, 11, 20, 21]
    uneven = make_clip(tmp_path / "a.mkv", count=6, codec="ffv1", time_base=Fraction(1, 100), pts=pts)
    copy = write_playable(probe(uneven), tmp_path / "a", sound=False)  # isolated, as the server does it
    assert same_pictures(copy.path, uneven)
    odd = make_clip(tmp_path / "b.avi", count=3, size=(35, 21), codec="ffv1", pix_fmt="yuv444p")
    copy = write_playable(probe(odd), tmp_path / "b", sound=False, isolate=False)
    assert (copy.width, copy.height, probe(copy.path).codec) == (35, 21, "vp9") and plays_anywhere(probe(copy.path))
    assert same_pictures(copy.path, odd)
    clear = make_clip(
        tmp_path / "c.mov",
        moving_bars(3, channels=4),
        codec="prores_ks",
        pix_fmt="yuva444p10le",
        options={"profile": "4"},
    )
    copy = write_playable(probe(clear), tmp_path / "c", sound=False, isolate=False)
    assert frames_of(copy.path)[0][1][:, :2].mean() < 20  # what is transparent is shown on black


def test_large_pictures_become_smaller_and_images_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_clip(tmp_path / "a.avi", count=2, size=(80, 60), codec="mpeg4")
    monkeypatch.setattr(playable, "_MOST_PIXELS", 1200)
    copy = write_playable(probe(original), tmp_path / "a", sound=False, isolate=False)
    assert (copy.width, copy.height) == (40, 30) == (probe(copy.path).width, probe(copy.path).height)
    Image.fromarray(moving_bars(1, 8, 6)[0]).save(tmp_path / "b.tif")
    copy = write_playable(probe(tmp_path / "b.tif"), tmp_path / "b", sound=True)
    assert copy.path.name == "b.png" and np.array_equal(np.asarray(Image.open(copy.path)), moving_bars(1, 8, 6)[0])


def test_too_large_or_damaged_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_clip(tmp_path / "a.avi", count=40, codec="ffv1")
    monkeypatch.setattr(playable, "_CHECK_EVERY", 1)
    with pytest.raises(LimitError, match="40 bytes that are free"):
        write_playable(probe(original), tmp_path / "a", sound=False, isolate=False, most_bytes=40)
    info = probe(original)
    original.write_bytes(original.read_bytes()[:3000])
    with pytest.raises(UnreadableInputError):
        write_playable(info, tmp_path / "a", sound=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.avi"]


def test_what_all_browsers_play(tmp_path: Path) -> None:
    for name, codec, pixel_format, audio, plays in (
        ("a.mp4", "libx264", "yuv420p", ["aac"], True),
        ("b.mov", "libx264", "yuv420p", ["aac"], False),
        ("c.mkv", "libx264", "yuv420p", [], False),
        ("d.webm", "libvpx-vp9", "yuv420p", ["libopus"], True),
        ("e.mp4", "libx264", "yuv444p", [], False),
        ("f.mp4", "libx264", "yuv420p", ["ac3"], False),
    ):
        clip = make_clip(tmp_path / name, count=2, codec=codec, pix_fmt=pixel_format, audio=audio)
        assert plays_anywhere(probe(clip)) == plays, name
