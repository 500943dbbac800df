"""Inputs that ask for too much, at their head or in mid-stream."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.reliability import fuzz_bombs
from benchmarks.reliability.fuzz_inputs import make_seeds, png, png_chunk
from starvsr.apps.cli import main
from starvsr.errors import CorruptFrameError, LimitError, OptionError
from starvsr.families.options import UpscaleOptions, option_infos
from starvsr.options import LIMITS, flag_name
from starvsr.video import VideoReader, probe
from starvsr.video.untrusted.limits import DEFAULT_LIMITS, Limits
from tests.video.clips import make_clip, moving_bars
from tests.video.frames import read


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


def test_every_limit_has_its_flag_and_changes_no_job() -> None:
    flags = {name for name, info in option_infos() if info.group == LIMITS}
    assert flags == {*vars(DEFAULT_LIMITS), "isolate"}
    assert UpscaleOptions().limits == DEFAULT_LIMITS
    assert UpscaleOptions(max_stall="1:00", max_metadata="1MB").limits == Limits(max_stall=60, max_metadata=1 << 20)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=flag_name("max_pixels")):
        UpscaleOptions(max_pixels=0)
    from starvsr.jobs.manifest import _FREE

    assert flags <= _FREE


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
    from starvsr.video.untrusted import stalls

    path = make_clip(tmp_path / "a.mp4")
    assert len(read(path)) == 8
    clock = iter(range(0, 10**6, 200))
    monkeypatch.setattr(stalls.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(stalls.time, "process_time", lambda: next(clock))
    with pytest.raises(LimitError, match=r"without a frame.*--max-stall"):
        read(path)


def test_shapes_of_pictures_are_unharmed_by_limits(tmp_path: Path) -> None:
    frames = moving_bars(2, 96, 33)
    path = make_clip(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    assert np.array_equal(np.stack(read(path, limits=Limits(max_pixels=96 * 33))), frames)
