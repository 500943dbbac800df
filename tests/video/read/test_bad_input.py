from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starvsr.errors import (
    CorruptFrameError,
    InputNotFoundError,
    OptionError,
    OutputExistsError,
    OutputNotWritableError,
    StarVsrError,
    UnreadableInputError,
)
from starvsr.video import EncodeOptions, VideoReader, VideoWriter, probe
from starvsr.video.convert import from_rgb
from tests.video.clips import make_clip, moving_bars


def noisy(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def read(path: Path, **kwargs: Any) -> tuple[int, list[str]]:
    with VideoReader(path, **kwargs) as reader:
        return sum(1 for _ in reader), reader.notes


def is_one_line(error: BaseException) -> bool:
    text = str(error)
    return "\n" not in text and (";" in text or ":" in text) and len(text) < 300


def test_missing(tmp_path: Path) -> None:
    for name in ("no.mp4", "no/no.mp4", "no"):
        with pytest.raises(InputNotFoundError, match="no such file") as caught:
            probe(tmp_path / name)
        assert is_one_line(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"This is a letter, not a video.\n" * 40, "not a video"),
        ("zeros.mp4", bytes(5000), "not a video"),
        ("head.mp4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(300), "no readable index"),
        ("text.png", b"hello", "not a video|no picture"),
        ("half.webp", b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + bytes(16), "damaged WebP|not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n", "."),
    ],
)
def test_files_that_are_no_video(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableInputError, match=message) as caught:
        probe(tmp_path / name)
    assert is_one_line(caught.value)


def test_audio_only(tmp_path: Path) -> None:
    import av

    from tests.video.clips import add_sound, write_sound

    with av.open(str(tmp_path / "a.m4a"), "w") as out:
        write_sound(out, add_sound(out, "aac"), 0.3)
    with pytest.raises(UnreadableInputError, match=r"no video in this file \(it holds audio\)"):
        probe(tmp_path / "a.m4a")


def test_video_without_frames(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mkv", noisy(2)).read_bytes()
    cluster = whole.index(bytes.fromhex("1f43b675"))
    (tmp_path / "b.mkv").write_bytes(whole[:cluster])
    with pytest.raises(UnreadableInputError, match=r"no picture could be decoded|not a video"):
        probe(tmp_path / "b.mkv")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_closed_file(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    path.chmod(0)
    with pytest.raises(UnreadableInputError, match="permission"):
        probe(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_cut_off_file(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    options = {"movflags": "+faststart"} if name == "a.mp4" else {}
    frames = noisy(50)
    path = make_clip(
        tmp_path / name,
        frames,
        codec=codec,
        rate=Fraction(10),
        container_options=options,
        options={"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {},
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(UnreadableInputError, match="cut off") as caught:
        VideoReader(path)
    assert is_one_line(caught.value)
    assert "frames" in str(caught.value)
    count, notes = read(path, on_corrupt="skip")
    assert 20 <= count <= 32
    assert any("cut off" in note for note in notes)


def test_cut_off_mp4_with_its_index_behind(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", noisy(10))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UnreadableInputError, match="no readable index"):
        VideoReader(path)


@pytest.mark.parametrize("name", ["whole.mp4", "whole.mkv", "whole.webm", "whole.avi", "whole.ts", "whole.gif"])
def test_whole_files_are_never_called_cut_off(tmp_path: Path, name: str) -> None:
    codec = {"whole.webm": "libvpx-vp9", "whole.avi": "mpeg4", "whole.gif": "gif"}.get(name, "libx264")
    pix_fmt = "rgb8" if name.endswith("gif") else "yuv420p"
    audio = {"whole.webm": ["libopus"], "whole.avi": ["mp2"], "whole.gif": []}.get(name, ["aac"])
    path = make_clip(tmp_path / name, count=10, codec=codec, pix_fmt=pix_fmt, audio=audio, audio_seconds=2.5)
    with VideoReader(path) as reader:
        assert sum(1 for _ in reader) == 10
        assert reader.notes == [] or all("promised end" in note for note in reader.notes)


def damage(path: Path, start: float = 0.4, stop: float = 0.6) -> None:
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(7)
    for position in rng.integers(int(len(data) * start), int(len(data) * stop), len(data) // 50):
        data[position] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.mp4", "libx265")])
def test_damage_in_the_middle(tmp_path: Path, name: str, codec: str) -> None:
    path = make_clip(tmp_path / name, noisy(30), codec=codec, options={"g": "5"})
    damage(path)
    with VideoReader(path) as reader, pytest.raises(CorruptFrameError) as caught:
        list(reader)
    assert is_one_line(caught.value)
    skipped, notes = read(path, on_corrupt="skip")
    assert skipped < 30
    assert any("damaged" in note for note in notes)
    concealed, notes = read(path, on_corrupt="conceal")
    assert concealed == 30
    assert any("damaged" in note for note in notes)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be chosen here")
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"x264-params": "slices=4:threads=1"}),  # the same file on any number of cores
        ("a.mkv", "libx264", {"x264-params": "threads=1"}),
        ("a.mp4", "libx265", {"x265-params": "pools=1:frame-threads=1"}),
        ("a.mpg", "mpeg2video", {}),
    ],
)
def test_damage_is_concealed_in_the_same_way_on_one_core_and_on_all(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    frames = np.stack([np.roll(texture, (i * 3, i * 2), (0, 1))[:240, :320] for i in range(20)])
    path = make_clip(tmp_path / name, frames, codec=codec, options=options)
    damage(path, 0.3, 0.9)
    cores = os.sched_getaffinity(0)
    seen = []
    for number in range(4):
        try:
            os.sched_setaffinity(0, {min(cores)} if number % 2 else cores)
            with VideoReader(path, on_corrupt="conceal") as reader:
                seen.append([frame.pixels.tobytes() for frame in reader])
        finally:
            os.sched_setaffinity(0, cores)
    assert len(seen[0]) >= 8 and all(pictures == seen[0] for pictures in seen)  # of 20, most of them damaged


def test_output_exists(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    out.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match="overwrite") as caught:
        VideoWriter(out, source=None, width=64, height=48)
    assert is_one_line(caught.value)
    assert out.read_bytes() == b"precious"


def test_output_folder_missing_or_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for name, message in (("no/a.mp4", "does not exist"), ("file/a.mp4", "no folder")):
        with pytest.raises(OutputNotWritableError, match=message):
            VideoWriter(tmp_path / name, source=None, width=64, height=48)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_output_folder_closed(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputNotWritableError, match="permission"):
        VideoWriter(folder / "a.mp4", source=None, width=64, height=48)


@pytest.mark.parametrize("how", ["same", "hard link", "symbolic link", "folder"])
def test_output_is_the_input(tmp_path: Path, how: str) -> None:
    source = make_clip(tmp_path / "in.mp4")
    before = source.read_bytes()
    out = source if how == "same" else tmp_path / "other.mp4"
    if how == "hard link":
        out.hardlink_to(source)
    elif how == "symbolic link":
        out.symlink_to(source)
    elif how == "folder":
        out = tmp_path / "x" / ".." / "in.mp4"
        (tmp_path / "x").mkdir()
    with pytest.raises(OptionError, match="input itself"):
        VideoWriter(out, source=probe(source), width=64, height=48, overwrite=True)
    assert source.read_bytes() == before


def test_folder_of_images_onto_itself(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(moving_bars(1)[0]).save(folder / "f_1.png")
    with pytest.raises(OptionError, match="input itself"):
        VideoWriter(folder, source=probe(folder), width=64, height=48, overwrite=True)
    with pytest.raises(OptionError, match="input itself"):
        VideoWriter(folder / "out_%d.png", source=probe(folder), width=64, height=48, overwrite=True)
    with pytest.raises(OptionError, match="names of the input's images"):
        VideoWriter(folder / "f_%d.png", source=probe(folder / "f_%d.png"), width=64, height=48, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["f_1.png"]


_FULL_DISK = """
import resource, signal, sys
import numpy as np
from starvsr.errors import OutputNotWritableError
from starvsr.video import EncodeOptions, VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
rng = np.random.default_rng(0)
try:
    options = EncodeOptions(preset=sys.argv[3] or None)
    with VideoWriter(sys.argv[1], source=None, width=128, height=128, options=options) as w:
        for i in range(12):
            w.write(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), i, 1)
except OutputNotWritableError as error:
    print(error)
else:
    print("nothing happened")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "frames"])
@pytest.mark.parametrize("limit", [9_000, 60_000])
def test_disk_full_is_said_in_one_line_and_leaves_nothing(tmp_path: Path, name: str, limit: int) -> None:
    """A limit on file sizes stands in for the full disk: FFmpeg sees a failing write either way."""
    if name == "frames" and limit > 50_000:
        limit = 30_000
    preset = "" if name == "frames" else "ultrafast"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / name), str(limit), preset], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "disk is full" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_error_is_one_of_ours_for_mutated_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    whole = make_clip(tmp_path / "a.mp4", audio=["aac"]).read_bytes()
    path = tmp_path / "b.mp4"
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), rng.integers(1, 12)):
            data[position] = rng.integers(0, 256)
        path.write_bytes(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]))
        try:
            outcomes.add(read(path)[0])
        except StarVsrError as error:
            assert "\n" not in str(error)
            outcomes.add(type(error).__name__)
    assert len(outcomes) > 1


def test_unknown_codec_tag(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.avi", codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZ9"))
    with pytest.raises(UnreadableInputError, match=r"codec|decoded") as caught:
        probe(path)
    assert is_one_line(caught.value)


def test_options_of_reader_do_not_hide_a_bad_pixel_format() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        from_rgb(np.zeros((4, 4, 3), np.uint8), "nonsense", probe_tags())


def probe_tags() -> Any:
    from starvsr.video.info import ColorTags

    return ColorTags(1, 1, 1, 1)


def test_error_on_missing_streams_when_asked(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", audio=["pcm_s16le"])
    with pytest.raises(OptionError, match="left out"):
        VideoWriter(
            tmp_path / "out.webm",
            source=probe(source),
            width=64,
            height=48,
            options=EncodeOptions(missing_streams="error"),
        )
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]
