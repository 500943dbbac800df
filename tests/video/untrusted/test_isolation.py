"""A decoder in a process of its own gives the same frames, and may crash, hang, swell or lie without harm."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from starvsr.errors import CorruptFrameError, InputError, InputNotFoundError, LimitError, UnreadableInputError
from starvsr.video import VideoInfo, VideoReader, probe
from starvsr.video.untrusted.isolation import parent, process
from starvsr.video.untrusted.isolation.parent import IsolatedReader, probe_isolated, rehearse_isolated
from starvsr.video.untrusted.isolation.wire import HEADER, WireError, pack, receive, send, unpack
from starvsr.video.untrusted.limits import Limits
from tests.video.clips import make_clip, moving_bars

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def frames_of(reader: VideoReader, skip: int = 0) -> list[tuple[Any, ...]]:
    with reader:
        return [(f.index, f.pts, f.time_base, f.duration, f.bit_depth, f.pixels) for f in reader.read(skip)]


def assert_same(one: VideoReader, other: VideoReader, skip: int = 0) -> None:
    for a, b in zip(frames_of(one, skip), frames_of(other, skip), strict=True):
        assert a[:-1] == b[:-1]
        assert a[-1].dtype == b[-1].dtype
        assert np.array_equal(a[-1], b[-1])
    assert one.notes == other.notes
    assert one.num_frames_read == other.num_frames_read
    assert one.time_range == other.time_range


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A clip with something in every field of its description."""
    return make_clip(
        tmp_path / "in.mkv",
        codec="libx265",
        pix_fmt="yuv420p10le",
        tags=(9, 1, 9, 16),
        aspect=Fraction(4, 3),
        audio=["aac"],
        metadata={"title": "Grüße\x1b[2J\n🙂"},
        chapters=[(0, 100, "eins"), (100, 300, "zwei")],
        attachments={"font.ttf": b"abc"},
    )


def test_everything_comes_through_as_without(rich: Path, tmp_path: Path) -> None:
    info = probe(rich)
    assert probe_isolated(rich) == info
    assert_same(VideoReader(rich), IsolatedReader(info))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    from PIL import Image

    for number, pixels in enumerate(moving_bars(3)):
        Image.fromarray(pixels).save(pictures / f"f_{number}.png")
    found = probe_isolated(pictures)
    assert found == probe(pictures)
    assert_same(VideoReader(pictures), IsolatedReader(found))


def test_ranges_skips_and_second_readings(rich: Path) -> None:
    info = probe(rich)
    part: Any = {"start": Fraction(1, 10), "duration": Fraction(1, 8)}
    reader = IsolatedReader(info, **part)
    assert_same(VideoReader(rich, **part), reader)
    assert_same(VideoReader(rich, **part), reader)
    assert_same(VideoReader(rich), IsolatedReader(info), skip=5)


def test_errors_are_the_same(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        probe_isolated(tmp_path / "no.mp4")
    (tmp_path / "text.mp4").write_bytes(b"no video " * 100)
    with pytest.raises(UnreadableInputError, match="not a video"):
        probe_isolated(tmp_path / "text.mp4")
    whole = make_clip(tmp_path / "a.mkv", moving_bars(20), codec="ffv1", options={"slicecrc": "1"})
    data = bytearray(whole.read_bytes())
    data[-len(data) // 3 :: 50] = bytes(len(data[-len(data) // 3 :: 50]))
    whole.write_bytes(data)
    info = probe_isolated(whole)
    texts = []
    for reader in (lambda: VideoReader(whole, info=info), lambda: IsolatedReader(info)):
        with pytest.raises((CorruptFrameError, UnreadableInputError)) as caught:
            frames_of(reader())
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


# ---- decoders that do not behave

_BEGIN = """
import sys
sys.path[:] = sys.argv[1:]
import starvsr.video.read.reader as r
from starvsr.video.untrusted.isolation import child
o = child.send
"""
_EVIL = {
    "crash": "import os, signal\nr.to_rgb = lambda *a, **k: os.kill(os.getpid(), signal.SIGSEGV)",
    "exit": "import os\nr.to_rgb = lambda *a, **k: os._exit(3)",
    "hang": "import time\nr.to_rgb = lambda *a, **k: time.sleep(1000)",
    "spin": "def f(*a, **k):\n    while True: pass\nr.to_rgb = f",
    "swell": "def f(*a, **k):\n    return [bytearray(1 << 28) for _ in range(1000)]\nr.to_rgb = f",
    "write": "def f(*a, **k):\n    open('written', 'w').write('x' * 100)\nr.to_rgb = f",
    "nonsense": "child.send = lambda pipe, message, raw=b'': pipe.write(b'\\0' * 64)",
    "huge": "child.send = lambda pipe, message, raw=b'': pipe.write(b'SVsr\\xff\\xff\\xff\\xff' + b'\\xff' * 8)",
    "small": "child.send = lambda p, m, raw=b'': o(p, m, raw[:1] if 'index' in m else raw)",
    "typed": "child.send = lambda p, m, raw=b'': o(p, {**m, 'pts': '7'} if 'index' in m else m, raw)",
}


def evil(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    script = f"{_BEGIN}{_EVIL[kind]}\nchild.main()"
    monkeypatch.setattr(process, "decoder_command", lambda: [sys.executable, "-I", "-c", script, *sys.path])


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("crash", InputError, "crashed (SIGSEGV)"),
        ("exit", InputError, "crashed (exit code 3)"),
        ("hang", LimitError, "--max-stall"),
        ("spin", LimitError, "--max-stall"),
        ("swell", LimitError, "--decoder-memory"),
        ("write", InputError, "the decoder"),
        ("nonsense", UnreadableInputError, "nonsense"),
        ("huge", UnreadableInputError, "nonsense"),
        ("small", UnreadableInputError, "nonsense"),
        ("typed", UnreadableInputError, "nonsense"),
    ],
)
def test_evil_decoders_harm_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[InputError], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    stall = Fraction(3) if kind in ("hang", "spin") else Fraction(120)
    info = replace(probe(make_clip(tmp_path / "a.mp4")), limits=Limits(max_stall=stall, decoder_memory=1 << 30))
    evil(monkeypatch, kind)
    with pytest.raises(error) as caught:
        frames_of(IsolatedReader(info))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir() if p.stat().st_size] == ["a.mp4"]
    assert not [t for t in threading.enumerate() if t.name == "starvsr-decoder-watch"]


def test_a_reader_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    reader = IsolatedReader(probe(make_clip(tmp_path / "a.mp4", count=50)))
    frames = reader.read()
    next(frames)
    process = reader._decoder._process  # type: ignore[union-attr]
    reader.close()
    assert process.returncode is not None


def test_a_pass_over_the_other_streams(rich: Path) -> None:
    info = probe(rich)
    for muxer in ("matroska", "mp4", "mov", "webm", "avi", "mpegts"):
        rehearse_isolated(info, muxer, converts_sound=True)


# ---- whole jobs


def test_a_job_gives_the_same_bytes(rich: Path, tmp_path: Path) -> None:
    import starvsr

    one, other = tmp_path / "one.mkv", tmp_path / "other.mkv"
    options: Any = {"model": "bicubic", "scale": 2, "threads": 1}
    starvsr.upscale(rich, one, **options)
    result = starvsr.upscale(rich, other, isolate=True, **options)
    assert result.num_frames == 8
    assert one.read_bytes() == other.read_bytes()


BEFORE = 3
"""Processes of decoders before the one whose frames are upscaled: to look at the input, to try the output, to plan."""


def test_a_job_survives_its_decoder_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import starvsr

    source = make_clip(tmp_path / "in.mp4", count=30, rate=Fraction(5))
    options: Any = {"model": "bicubic", "scale": 1, "threads": 1, "segment": 4}
    starvsr.upscale(source, tmp_path / "whole.mp4", **options)
    after = "f = r.to_rgb; n = iter(range(99))\nr.to_rgb = lambda *a, **k: os._exit(3) if next(n) > 20 else f(*a, **k)"
    monkeypatch.setitem(_EVIL, "later", f"import os\n{after}")
    evil(monkeypatch, "later")
    commands = [process.decoder_command] * 9
    monkeypatch.undo()
    commands[:BEFORE] = [process.decoder_command] * BEFORE
    monkeypatch.setattr(process, "decoder_command", lambda: commands.pop(0)())
    with pytest.raises(InputError, match="the decoder crashed"):
        starvsr.upscale(source, tmp_path / "out.mp4", isolate=True, **options)
    assert not (tmp_path / "out.mp4").exists()
    monkeypatch.undo()
    assert starvsr.upscale(source, tmp_path / "out.mp4", **options).num_kept > 0
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_crash_while_streams_are_looked_at_is_no_crash_of_the_job(tmp_path: Path, rich: Path) -> None:
    import starvsr

    script = f"{_BEGIN}import os, signal, starvsr.video.remux.streams as c\n"
    script += "c.StreamCopier.start_reading = lambda self: os.kill(os.getpid(), signal.SIGSEGV)\nchild.main()"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "decoder_command", lambda: [sys.executable, "-I", "-c", script, *sys.path])
        with pytest.raises(InputError, match="SIGSEGV"):
            starvsr.upscale(rich, tmp_path / "out.mkv", isolate=True, model="bicubic", scale=1)
    assert not (tmp_path / "out.mkv").exists()


# ---- messages


def test_descriptions_survive_the_way(rich: Path) -> None:
    info = probe(rich)
    assert unpack(VideoInfo, pack(info)) == info


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "64"),
        ("width", 2**70),
        ("width", True),
        ("frame_rate", "1/0"),
        ("frame_rate", "9" * 200 + "/1"),
        ("streams", {}),
        ("metadata", {"a": 1}),
        ("color", None),
        ("kind", 3),
    ],
)
def test_descriptions_of_wrong_types_are_refused(rich: Path, name: str, value: Any) -> None:
    with pytest.raises(WireError):
        unpack(VideoInfo, {**pack(probe(rich)), name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 60),
        ("height", -48),
        ("pixel_format", "yuv420p; rm"),
        ("pixel_format", "nonsense"),
        ("kind", "folder"),
        ("bit_depth", 64),
        ("frame_rate", "0/1"),
        ("time_base", "-1/25"),
        ("num_frames", 2**40),
        ("rotation", 45),
    ],
)
def test_descriptions_that_make_no_sense_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    path = make_clip(tmp_path / "a.mp4")
    data = {**pack(probe(path)), "files": []}
    assert parent.info_from(data, path, Limits()) == probe(path)
    with pytest.raises((WireError, ValueError)):
        parent.info_from({**data, name: value}, path, Limits())


def test_files_come_from_the_folder_and_not_from_the_child(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    data = {**pack(probe(path)), "files": ["/etc/hostname"], "path": "/etc/hostname"}
    info = parent.info_from(data, path, Limits())
    assert (info.path, info.files) == (path, ())


def test_what_is_no_message_is_refused() -> None:
    whole = io.BytesIO()
    send(whole, {"a": 1}, b"raw")
    assert receive(io.BytesIO(whole.getvalue())) == ({"a": 1}, 3)
    with pytest.raises(EOFError):
        receive(io.BytesIO(whole.getvalue()[:15]))
    for bad in (b"XXXX" + bytes(12), HEADER.pack(b"SVsr", 2, 0) + b"[]", HEADER.pack(b"SVsr", 2, 0) + b"{x"):
        with pytest.raises(WireError):
            receive(io.BytesIO(bad))
    with pytest.raises(WireError):
        receive(io.BytesIO(struct.pack("<4sIQ", b"SVsr", 2**32 - 1, 0)))
