"""Inputs that ask for too much, name other files, or carry words that steer a terminal."""

from __future__ import annotations

import ast
import re
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks import fuzz_bombs
from benchmarks.fuzz_inputs import make_seeds, png, png_chunk
from starvsr.apps.cli import main
from starvsr.apps.cli.words import json_text, printable
from starvsr.errors import CorruptFrameError, InputError, LimitError, OptionError, UnreadableInputError
from starvsr.pipelines.options import LIMITS, UpscaleOptions, flag_name, option_infos
from starvsr.video import VideoReader, probe
from starvsr.video.limits import DEFAULT_LIMITS, Limits
from tests.video.clips import make_clip, moving_bars


def read(path: Path, **arguments: Any) -> list[np.ndarray]:
    with VideoReader(path, **arguments) as reader:
        return [frame.pixels for frame in reader]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_the_defaults_let_in_what_people_have() -> None:
    assert DEFAULT_LIMITS.max_pixels >= 15360 * 8640  # 16K
    assert DEFAULT_LIMITS.max_frames >= 24 * 3600 * 60  # a day at 60 frames a second
    assert DEFAULT_LIMITS.max_duration >= 7 * 24 * 3600
    assert DEFAULT_LIMITS.max_streams >= 100


def test_8k_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(7680, 4320))
    assert (probe(path).width, probe(path).height) == (7680, 4320)
    assert read(path)[0].shape == (4320, 7680, 3)


@pytest.mark.parametrize(
    ("contents", "limit", "too_few", "enough"),
    [
        ({}, "max_pixels", 64 * 48 - 1, 64 * 48),
        ({"count": 8}, "max_frames", 7, 8),
        ({"count": 7}, "max_duration", Fraction(1, 5), Fraction(6, 25)),
        ({"audio": ["pcm_s16le"] * 2}, "max_streams", 2, 3),
        ({"metadata": {"comment": "x" * 3000}}, "max_metadata", 3000, 9000),
        ({"chapters": [(i, i + 1, "c") for i in range(50)]}, "max_metadata", 3000, 20_000),
        ({"attachments": {"a": bytes(600), "b": bytes(600)}}, "max_attachments", 1199, 1200),
    ],
)
def test_each_limit_refuses_in_one_line_that_names_its_flag(
    tmp_path: Path, contents: dict[str, Any], limit: str, too_few: Any, enough: Any
) -> None:
    path = make_clip(tmp_path / "a.mkv", **contents)
    with pytest.raises(LimitError, match=f"more than the limit of .*raise {flag_name(limit)}$") as caught:
        read(path, limits=Limits(**{limit: too_few}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert len(read(path, limits=Limits(**{limit: enough}))) == len(read(path)) > 0


def test_flags_raise_the_limits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, out = make_clip(tmp_path / "a.mkv"), tmp_path / "out.mkv"
    words = ["upscale", str(path), "-o", str(out), "--model", "bicubic", "--scale", "1", "-q", "--threads", "1"]
    for command in (["info", str(path)], words):
        assert main([*command, "--max-pixels", "3071"]) == 1
        error = capfd.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and "--max-pixels" in error
        assert not out.exists()
        assert main([*command, "--max-pixels", "3072"]) == 0
        capfd.readouterr()
    assert out.exists()


def test_limits_are_for_inputs_and_not_for_outputs(tmp_path: Path) -> None:
    import starvsr

    path = make_clip(tmp_path / "a.mkv", count=3, metadata={"comment": "x" * 500}, audio=["pcm_s16le"])
    few: Any = {"max_pixels": 64 * 48, "max_frames": 3, "max_metadata": 2500, "max_streams": 2}
    out = tmp_path / "out.mkv"
    result = starvsr.upscale(path, out, model="bicubic", scale=2, threads=1, compare=True, **few)
    assert (result.width, len(result.comparison)) == (128, 2)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    import starvsr

    path = make_clip(tmp_path / "a.mp4", count=3).rename(tmp_path / "a\udcff.mp4")
    out = tmp_path / "b\udcfe.mp4"
    assert starvsr.upscale(path, out, model="bicubic", scale=1, threads=1).num_frames == 3
    assert out.exists()


def test_every_limit_has_its_flag_and_changes_no_job() -> None:
    flags = {name for name, info in option_infos() if info.group == LIMITS}
    assert flags == {*vars(DEFAULT_LIMITS), "isolate"}
    assert UpscaleOptions().limits == DEFAULT_LIMITS
    assert UpscaleOptions(max_stall="1:00", max_metadata="1MB").limits == Limits(max_stall=60, max_metadata=1 << 20)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=flag_name("max_pixels")):
        UpscaleOptions(max_pixels=0)
    from starvsr.pipelines.jobs.plan import _FREE

    assert flags <= _FREE


# ---- in mid-stream


def test_other_sizes_in_mid_stream_are_scaled_to_the_first_and_said(tmp_path: Path, seeds: dict[str, bytes]) -> None:
    path = fuzz_bombs.write(tmp_path, "size changes in mid-stream", seeds)
    with VideoReader(path, on_corrupt="skip") as reader:
        shapes = [frame.pixels.shape for frame in reader]
    assert len(shapes) == 18 and set(shapes) == {(48, 64, 3)}
    assert any("the picture size changes within the file" in note for note in reader.notes)


def test_sizes_beyond_the_limit_in_mid_stream_are_refused(tmp_path: Path) -> None:
    parts = []
    for name, size in (("a.h264", (64, 48)), ("b.h264", (640, 480))):
        parts.append(make_clip(tmp_path / name, size=size, options={"bf": "0"}).read_bytes())
    (tmp_path / "c.h264").write_bytes(b"".join(parts))
    assert len(read(tmp_path / "c.h264")) == 16
    with pytest.raises(CorruptFrameError, match=r"640x480 pixels, more than .* --max-pixels"):
        read(tmp_path / "c.h264", limits=Limits(max_pixels=64 * 48))
    assert len(read(tmp_path / "c.h264", limits=Limits(max_pixels=64 * 48), on_corrupt="skip")) in (7, 8)


def test_interlaced_frames_of_other_sizes_do_not_end_the_process(tmp_path: Path) -> None:
    parts = []
    for name, size in (("a.h264", (64, 48)), ("b.h264", (320, 240)), ("c.h264", (32, 32))):
        parts.append(make_clip(tmp_path / name, size=size, interlaced=True).read_bytes())
    (tmp_path / "all.h264").write_bytes(b"".join(parts))
    code = "import sys; from starvsr.video import VideoReader; print(sum(1 for f in VideoReader(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "all.h264")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "24"), done.stderr


# ---- bombs


@pytest.mark.parametrize("what", list(fuzz_bombs.BOMBS))
def test_bombs_are_refused_or_done_in_little_memory(
    tmp_path: Path, seeds: dict[str, bytes], what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = fuzz_bombs.write(tmp_path, what, seeds)
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if clear.exists():
        clear.write_text("5")  # the peak begins anew

    def kilobytes(name: str) -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith(name)).split()[1])

    before = kilobytes("VmRSS") if clear.exists() else 0
    code = main(["info", str(path)])
    said = capfd.readouterr()
    assert "unexpected" not in said.err
    assert code == 0 or (said.err.startswith("error: ") and said.err.count("\n") == 1)
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", said.out + said.err)
    if clear.exists():
        assert kilobytes("VmHWM") - before < 200_000


def test_raised_limits_let_bombs_in(tmp_path: Path) -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))
    (tmp_path / "a.png").write_bytes(png(8, 8, extra=text))
    with pytest.raises(LimitError, match="--max-metadata"):
        probe(tmp_path / "a.png")
    assert probe(tmp_path / "a.png", limits=Limits(max_metadata=30_000_000)).width == 8


def test_raw_sound_with_its_many_samples_is_no_bomb(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mov", count=2, audio=["pcm_s16le"], audio_seconds=2)
    assert probe(path, limits=Limits(max_frames=1000)).has_audio


def test_decoding_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starvsr.video import stalls

    path = make_clip(tmp_path / "a.mp4")
    assert len(read(path)) == 8
    clock = iter(range(0, 10**6, 200))
    monkeypatch.setattr(stalls.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(stalls.time, "process_time", lambda: next(clock))
    with pytest.raises(LimitError, match=r"without a frame.*--max-stall"):
        read(path)


# ---- found by the fuzz bench


def test_a_duration_of_less_than_a_frame_promises_one_frame(tmp_path: Path) -> None:
    from dataclasses import replace

    info = replace(probe(make_clip(tmp_path / "a.mkv", count=1)), num_frames=None)
    for duration, frames in ((Fraction(1, 10**6), 1), (Fraction(0), None), (Fraction(-3), None), (Fraction(2), 50)):
        assert replace(info, duration=duration).estimated_frames == frames


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.webm"])
def test_an_absurd_shape_of_pixels_is_none(tmp_path: Path, seeds: dict[str, bytes], name: str) -> None:
    import starvsr

    path = fuzz_bombs.write(tmp_path, "picture shape of two billion to one", seeds)
    assert probe(path).sample_aspect_ratio == 1
    codec = "h264" if name == "out.mp4" else "vp9"
    assert starvsr.upscale(path, tmp_path / name, model="bicubic", scale=1, codec=codec, threads=1).num_frames == 6


def test_ordinary_shapes_of_pixels_are_kept(tmp_path: Path) -> None:
    for aspect in (Fraction(4, 3), Fraction(40, 33), Fraction(12345, 6789), Fraction(1, 3)):
        assert probe(make_clip(tmp_path / "a.mp4", aspect=aspect)).sample_aspect_ratio == aspect


@pytest.mark.parametrize("name", ["a.gif", "a.apng"])
def test_damage_behind_the_first_frame_is_left_for_the_reader_to_tell(
    tmp_path: Path, seeds: dict[str, bytes], name: str
) -> None:
    data = bytearray(seeds[name])
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / name).write_bytes(data)
    assert probe(tmp_path / name).width == 64


# ---- other files


def test_playlists_open_nothing_else(tmp_path: Path) -> None:
    make_clip(tmp_path / "other.ts")
    make_clip(tmp_path / "other.mp4")
    lists = {
        "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n",
        "b.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "c.mp4": "ffconcat version 1.0\nfile other.mp4\n",
        "d.txt": "\n\nffconcat version 1.0\nfile other.mp4\n",
        "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "f.mpd": "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>other.mp4</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableInputError) as caught:
            probe(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name == "d.txt" or "give the media file itself" in str(caught.value)


def test_without_our_rules_the_same_list_opens_the_other_file(tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    make_clip(tmp_path / "other.mp4")
    (tmp_path / "c.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert container.format.name == "concat" and container.streams.video[0].width == 64


@pytest.mark.parametrize("name", ["a%03d.png", "a{b}.png", "a*.png", "concat:b.png", "http:b.png", "-i.png"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / name, format="png")
    for other in ("a000.png", "a001.png", "ab.png", "b.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / other)
    assert (probe(tmp_path / name).width, len(read(tmp_path / name))) == (20, 1)


def test_references_of_mov_files_are_not_followed(tmp_path: Path) -> None:
    make_clip(tmp_path / "other.mp4")
    data = make_clip(tmp_path / "a.mp4", container_options={"movflags": "+faststart"}).read_bytes()
    where = str(tmp_path / "other.mp4").encode() + b"\0"
    entry = struct.pack(">I4sI", 12 + len(where), b"url ", 0) + where
    start = data.index(b"url ") - 4
    data = data[:start] + entry + data[start + 12 :]
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(parent) - 4
        data = data[:at] + struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + len(where)) + data[at + 4 :]
    mdat = data.index(b"mdat")
    (tmp_path / "a.mp4").write_bytes(data[: mdat + 4] + bytes(len(data) - mdat - 4))
    with pytest.raises(InputError):  # the pictures are zeros here, and the other file's are not taken in their place
        read(tmp_path / "a.mp4")


# ---- words


def test_words_of_files_are_shown_and_not_obeyed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.\u2028\r\nerror: none"
    path = make_clip(
        tmp_path / "a\x1b[31m.mkv",
        audio=["pcm_s16le"],
        metadata={"title": nasty, "comment": "Grüße 日本 🙂"},
        attachments={"../../\x1b[5mfont.ttf": b"abc"},
        chapters=[(0, 100, nasty)],
    )
    control = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")
    out = tmp_path / "out"
    out.mkdir()
    for words in (["info", str(path)], ["info", "--json", str(path)], ["info", str(path) + "\x1b[0m"]):
        main(words)
        said = capfd.readouterr()
        assert not control.search(said.out + said.err)
        assert "\\x1b" in said.out + said.err or "\\u001b" in said.out
    assert main(["upscale", str(path), "-o", str(out / "b.mkv"), "--model", "bicubic", "--scale", "1"]) == 0
    said = capfd.readouterr()
    assert not control.search(said.out + said.err)
    assert [p.name for p in out.iterdir()] == ["b.mkv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "out"]
    with av.open(str(out / "b.mkv")) as container:
        assert container.metadata["COMMENT"] == "Grüße 日本 🙂"


def test_printable_keeps_letters() -> None:
    assert printable("Grüße 日本 🙂 नमस्\u200dते") == "Grüße 日本 🙂 नमस्\u200dते"
    assert printable("a\nb\x1b\x9b\ud880\u202e") == "a\\nb\\x1b\\x9b\\ud880\\u202e"
    import json

    value = {"a": "\x9b\u202e\U000e0001é\n", "b": [1]}
    assert json.loads(json_text(value)) == value
    assert "é" in json_text(value) and "\x9b" not in json_text(value)


# ---- the source


def test_no_shell_no_pickles_no_evaluation_in_the_source() -> None:
    root = Path(__file__).parents[2]
    files = [*root.glob("src/**/*.py"), *root.glob("benchmarks/*.py"), *root.glob("examples/*.py")]
    assert len(files) > 100
    found = [f"{file.name}:{line} {what}" for file in files for line, what in risky_calls(file.read_text())]
    assert found == []


def risky_calls(source: str) -> list[tuple[int, str]]:
    """List the calls that run text as code, start a shell, or unpickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"):
            found.append((node.lineno, name))
        if keywords.get("shell", "False") != "False":
            found.append((node.lineno, "shell"))
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append((node.lineno, "torch.load without weights_only"))
        if name in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False":
            found.append((node.lineno, "np.load with pickles"))
        if name == "yaml.load":
            found.append((node.lineno, name))
    return found


def test_the_search_of_the_source_finds_what_it_looks_for() -> None:
    bad = (
        "eval('1')\nos.system('x')\nsubprocess.run('x', shell=True)\ntorch.load('x')\npickle.load(f)\n"
        "np.load('x', allow_pickle=True)\ntorch.load('x', weights_only=True)\nexec('1')\n"
    )
    assert [line for line, _ in risky_calls(bad)] == [1, 2, 3, 4, 5, 6, 8]


def test_shapes_of_pictures_are_unharmed_by_limits(tmp_path: Path) -> None:
    frames = moving_bars(2, 96, 33)
    path = make_clip(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    assert np.array_equal(np.stack(read(path, limits=Limits(max_pixels=96 * 33))), frames)
