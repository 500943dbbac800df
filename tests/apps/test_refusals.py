"""What cannot be done: one line for every error, right exit codes, nothing half written."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from starvsr.apps.cli import main
from starvsr.video import probe
from tests.apps.commands import QUICK, leftovers, write_clip


def test_a_video_does_not_become_one_image(clip: Path, tmp_path: Path, one_line) -> None:
    code, said = one_line("upscale", clip, "-o", tmp_path / "o.png", "-q", *QUICK)
    assert code == 1 and "holds one image" in said
    assert not leftovers(tmp_path)


def _bad_inputs(folder: Path, clip: Path) -> dict[str, Path]:
    content = clip.read_bytes()
    damaged = folder / "damaged.mkv"
    write_clip(damaged, num_frames=40, size=(64, 48))
    spoiled = bytearray(damaged.read_bytes())
    spoiled[len(spoiled) // 3 : len(spoiled) // 2] = bytes(len(spoiled) // 2 - len(spoiled) // 3)
    damaged.write_bytes(bytes(spoiled))
    files = {
        "missing": folder / "missing.mp4",
        "empty": folder / "empty.mp4",
        "text": folder / "text.mp4",
        "truncated": folder / "truncated.mp4",
        "damaged": damaged,
        "sound": folder / "sound.wav",
        "no_frames": folder / "empty_folder",
    }
    files["empty"].write_bytes(b"")
    files["text"].write_text("this is no video " * 50)
    files["truncated"].write_bytes(content[: len(content) // 2])
    files["no_frames"].mkdir()
    _write_sound(files["sound"])
    return files


def _write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "damaged", "sound", "no_frames"])
def test_bad_input_is_one_line_and_leaves_nothing(kind: str, clip: Path, tmp_path: Path, one_line) -> None:
    source = _bad_inputs(tmp_path, clip)[kind]
    out = tmp_path / "out"
    out.mkdir()
    code, said = one_line("upscale", source, "-o", out / "o.mp4", "-q", *QUICK)
    assert code == 1
    assert source.name in said
    assert not leftovers(out)


def test_existing_output_is_refused_and_untouched(clip: Path, tmp_path: Path, one_line) -> None:
    out = tmp_path / "o.mp4"
    out.write_bytes(b"precious")
    code, said = one_line("upscale", clip, "-o", out, *QUICK)
    assert code == 1 and "--overwrite" in said
    assert out.read_bytes() == b"precious"
    assert main(["upscale", str(clip), "-o", str(out), "--overwrite", *QUICK]) == 0
    assert probe(out).width == 96


def test_existing_output_survives_a_failure_with_overwrite(clip: Path, tmp_path: Path, one_line) -> None:
    files = _bad_inputs(tmp_path, clip)
    out = tmp_path / "o.mp4"
    out.write_bytes(b"precious")
    assert one_line("upscale", files["damaged"], "-o", out, "--overwrite", "-q", *QUICK)[0] == 1
    assert out.read_bytes() == b"precious"


def test_missing_folder_and_input_as_output(clip: Path, tmp_path: Path, one_line) -> None:
    code, said = one_line("upscale", clip, "-o", tmp_path / "none" / "o.mp4", *QUICK)
    assert code == 1 and "does not exist" in said
    before = clip.read_bytes()
    code, said = one_line("upscale", clip, "-o", clip, "--overwrite", *QUICK)
    assert code == 1 and "the input itself" in said
    assert clip.read_bytes() == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(clip: Path, tmp_path: Path, one_line) -> None:
    tmp_path.chmod(0o555)
    try:
        code, said = one_line("upscale", clip, "-o", tmp_path / "o.mp4", *QUICK)
    finally:
        tmp_path.chmod(0o755)
    assert code == 1 and "permission" in said


def test_full_disk_is_one_line_and_leaves_nothing(
    clip: Path, tmp_path: Path, one_line, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starvsr.video.parts import part_file as parts

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.PartFile, "_put", full)
    code, said = one_line("upscale", clip, "-o", tmp_path / "o.mp4", "-q", *QUICK)
    assert code == 1 and "disk is full" in said
    assert not leftovers(tmp_path)


def test_several_inputs_skip_what_fails(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = _bad_inputs(tmp_path, clip)
    out = tmp_path / "out"
    out.mkdir()
    words = ["upscale", str(files["text"]), str(clip), "-o", str(out), "-q", "--on-error", "skip", *QUICK]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "1 of 2 done, 1 failed" in said.out
    assert said.err.count("error: ") == 1
    assert leftovers(out) == ["clip_x4.mp4"]


def test_several_inputs_stop_at_the_first_failure(clip: Path, tmp_path: Path, one_line) -> None:
    files = _bad_inputs(tmp_path, clip)
    out = tmp_path / "out"
    out.mkdir()
    assert one_line("upscale", files["text"], clip, "-o", out, "-q", *QUICK)[0] == 1
    assert not leftovers(out)


def test_outputs_that_would_collide_are_refused(clip: Path, tmp_path: Path, one_line) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / clip.name
    twin.write_bytes(clip.read_bytes())
    code, said = one_line("upscale", clip, twin, "-o", tmp_path, *QUICK)
    assert code == 1 and "would both become" in said


@pytest.mark.parametrize(
    "words",
    [
        ("--scale", "5"),
        ("--scael", "2"),
        ("--color", "red"),
        ("--tile", "3"),
        ("--start", "soon"),
        ("--overlap", "1", "--crossfade", "4"),
    ],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...], clip: Path, one_line) -> None:
    code, said = one_line("upscale", clip, *words)
    assert code == 2
    assert "--help" in said


@pytest.mark.parametrize(
    "words",
    [
        ("--steps", "2"),
        ("--prompt", "a cat"),
        ("--window", "8"),
        ("--precision", "fp16"),
        ("--weights", "w.safetensors"),
        ("--frame-rate", "25"),
        ("--alpha", "drop"),
        ("--codec", "no_such_codec"),
        ("--crf", "60"),
        ("--preset", "warp"),
        ("--pixel-format", "yuv999"),
        ("--device", "abacus"),
        ("--model", "no-such-model"),
        ("--start", "100"),
        ("--memory", "1MB"),
    ],
)
def test_what_cannot_be_honoured_is_refused(words: tuple[str, ...], clip: Path, tmp_path: Path, one_line) -> None:
    base = () if "--model" in words else QUICK
    code, _ = one_line("upscale", clip, "-o", tmp_path / "o.mp4", *base, *words, "-q")
    assert code == 1
    assert not leftovers(tmp_path)


def test_too_small_a_disk_is_refused_before_the_start(
    clip: Path, tmp_path: Path, one_line, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    code, said = one_line("upscale", clip, "-o", tmp_path / "o.mp4", "-q", *QUICK)
    assert code == 1 and "of disk are needed" in said
    assert not leftovers(tmp_path)
