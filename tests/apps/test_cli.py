"""The command's face: help at once, one line for every error, right exit codes, nothing half written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from starvsr.apps.cli import main
from starvsr.pipelines.options import flag_name, option_infos
from starvsr.video import VideoReader, VideoWriter, probe

QUICK = ("--model", "bicubic", "--threads", "1")


def _write_clip(path: Path, num_frames: int = 5, size: tuple[int, int] = (24, 16), rate: int = 25) -> Path:
    rng = np.random.default_rng(3)
    with VideoWriter(path, source=None, width=size[0], height=size[1], frame_rate=Fraction(rate)) as writer:
        for index in range(num_frames):
            writer.write(rng.integers(0, 256, (size[1], size[0], 3), np.uint8), index, 1)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_clip(tmp_path_factory.mktemp("in") / "clip.mp4")


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]):
    """Return the exit code of a command that fails, having checked that it said one clean line."""

    def run(*words: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if not line.startswith("note:")]
        assert len(lines) == 1, said.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in said.err and "unexpected" not in said.err
        assert not said.out
        return code, lines[0]

    return run


def _leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_upscale_keeps_frames_and_times(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "big.mp4"
    assert main(["upscale", str(clip), "-o", str(out), *QUICK]) == 0
    assert "big.mp4: 5 frames of 96x64" in capsys.readouterr().out
    with VideoReader(clip) as before, VideoReader(out) as after:
        times = [[f.pts * f.time_base for f in reader] for reader in (before, after)]
    assert times[0] == times[1]
    assert _leftovers(tmp_path) == ["big.mp4"]


def test_provenance_is_written_into_the_file(clip: Path, tmp_path: Path) -> None:
    import json

    assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mkv"), "--scale", "2", *QUICK]) == 0
    tags = {key.lower(): value for key, value in probe(tmp_path / "o.mkv").metadata.items()}
    record = json.loads(tags["comment"])
    assert record["model"] == "bicubic"
    assert record["options"] == {"scale": 2.0}
    assert str(tmp_path) not in tags["comment"]


def test_output_names_come_from_the_input(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(clip.read_bytes())
    assert main(["upscale", str(source), "--scale", "2", *QUICK]) == 0
    assert (probe(tmp_path / "a_x2.mp4").width, probe(tmp_path / "a_x2.mp4").height) == (48, 32)


def test_compare_writes_picture_and_video(clip: Path, tmp_path: Path) -> None:
    assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mp4"), "--compare", *QUICK]) == 0
    assert _leftovers(tmp_path) == ["o.mp4", "o_compare.mp4", "o_compare.png"]
    assert probe(tmp_path / "o_compare.mp4").width == 2 * 96
    assert probe(tmp_path / "o_compare.mp4").num_frames == 5


def test_dry_run_shows_the_plan_and_writes_nothing(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mp4"), "--dry-run", *QUICK]) == 0
    said = capsys.readouterr().out
    for word in ("frames", "encoding", "libx264", "segments", "memory", "disk", "time"):
        assert word in said
    assert not _leftovers(tmp_path)


def test_same_options_same_bytes(clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        assert main(["upscale", str(clip), "-o", str(tmp_path / name), *QUICK]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_info_as_words_and_json(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["info", str(clip)]) == 0
    assert "24x16" in capsys.readouterr().out
    assert main(["info", str(clip), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["width"] == 24


def test_image_in_image_out(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (10, 7), (9, 80, 200)).save(tmp_path / "a.png")
    assert main(["upscale", str(tmp_path / "a.png"), *QUICK]) == 0
    with Image.open(tmp_path / "a_x4.png") as made:
        assert made.size == (40, 28)
        assert made.getpixel((20, 14)) == (9, 80, 200)


def test_folder_of_images_becomes_folder(tmp_path: Path) -> None:
    from PIL import Image

    frames = tmp_path / "shots"
    frames.mkdir()
    for index in range(3):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(frames / f"f{index}.png")
    assert main(["upscale", str(frames), *QUICK]) == 0
    assert len(list((tmp_path / "shots_x4").glob("*.png"))) == 3


def test_a_video_does_not_become_one_image(clip: Path, tmp_path: Path, one_line) -> None:
    code, said = one_line("upscale", clip, "-o", tmp_path / "o.png", "-q", *QUICK)
    assert code == 1 and "holds one image" in said
    assert not _leftovers(tmp_path)


# ---- bad input


def _bad_inputs(folder: Path, clip: Path) -> dict[str, Path]:
    content = clip.read_bytes()
    damaged = folder / "damaged.mkv"
    _write_clip(damaged, num_frames=40, size=(64, 48))
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
    assert not _leftovers(out)


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
    from starvsr.video import parts

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.PartFile, "_put", full)
    code, said = one_line("upscale", clip, "-o", tmp_path / "o.mp4", "-q", *QUICK)
    assert code == 1 and "disk is full" in said
    assert not _leftovers(tmp_path)


def test_several_inputs_skip_what_fails(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = _bad_inputs(tmp_path, clip)
    out = tmp_path / "out"
    out.mkdir()
    words = ["upscale", str(files["text"]), str(clip), "-o", str(out), "-q", "--on-error", "skip", *QUICK]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "1 of 2 done, 1 failed" in said.out
    assert said.err.count("error: ") == 1
    assert _leftovers(out) == ["clip_x4.mp4"]


def test_several_inputs_stop_at_the_first_failure(clip: Path, tmp_path: Path, one_line) -> None:
    files = _bad_inputs(tmp_path, clip)
    out = tmp_path / "out"
    out.mkdir()
    assert one_line("upscale", files["text"], clip, "-o", out, "-q", *QUICK)[0] == 1
    assert not _leftovers(out)


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
        ("--seed", "3"),
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
    assert not _leftovers(tmp_path)


# ---- jobs


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output whose job ran out of memory with some parts finished."""
    from starvsr.pipelines.families.baseline import BicubicUpscaler

    def hungry(self, lq, *, first_frame, **arguments):
        if first_frame > 20:
            raise MemoryError
        return upscale_clip(self, lq, first_frame=first_frame, **arguments)

    upscale_clip = BicubicUpscaler.upscale_clip
    source = _write_clip(tmp_path / "in.mp4", num_frames=30, rate=4)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "o.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(BicubicUpscaler, "upscale_clip", hungry)
        assert main(["upscale", str(source), "-o", str(out), "--segment", "4", *QUICK]) == 1
    return out


def test_an_interrupted_job_is_listed_shown_and_gone_on_with(
    capsys: pytest.CaptureFixture[str], interrupted: Path
) -> None:
    kept = re.search(r"note: (\d+) of 30 frames \((\d+) %\) are finished and kept in", capsys.readouterr().err)
    assert kept is not None
    assert main(["jobs", "list", str(interrupted.parent)]) == 0
    assert f"o.mp4: {kept[1]} of 30 frames ({kept[2]} %)" in capsys.readouterr().out
    assert main(["jobs", "show", str(interrupted)]) == 0
    said = capsys.readouterr().out
    for word in ("interrupted", f"{kept[1]} of 30", "libx264", "bicubic", "in.mp4", "segment 4"):
        assert word in said
    assert main(["jobs", "resume", f"{interrupted}.job", "-q"]) == 0
    assert f"30 frames of 96x64, {kept[1]} of them from before" in capsys.readouterr().out
    assert _leftovers(interrupted.parent) == ["o.mp4"]


def test_changed_options_name_the_difference_and_restart_begins_anew(interrupted: Path, one_line) -> None:
    words = ("upscale", interrupted.parent.parent / "in.mp4", "-o", interrupted, "--segment", "4", *QUICK, "-q")
    code, said = one_line(*words, "--crf", "25")
    assert code == 1 and "--crf: none before, 25 now" in said and "--restart" in said
    assert main([str(word) for word in (*words, "--crf", "25", "--restart")]) == 0
    assert _leftovers(interrupted.parent) == ["o.mp4"]


def test_clean_removes_jobs_and_nothing_else(interrupted: Path, one_line, capsys: pytest.CaptureFixture[str]) -> None:
    folder = interrupted.parent
    (folder / "mine.job").mkdir()
    (folder / "mine.job" / "letter.txt").write_text("dear")
    assert main(["jobs", "clean", "--all", str(folder)]) == 0
    assert "freed" in capsys.readouterr().out
    assert _leftovers(folder) == ["mine.job"]
    assert one_line("jobs", "show", interrupted)[0] == 1
    assert one_line("jobs", "clean", folder / "mine.job")[0] == 1
    assert one_line("jobs", "clean")[0] == 2


def test_too_small_a_disk_is_refused_before_the_start(
    clip: Path, tmp_path: Path, one_line, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    code, said = one_line("upscale", clip, "-o", tmp_path / "o.mp4", "-q", *QUICK)
    assert code == 1 and "of disk are needed" in said
    assert not _leftovers(tmp_path)


# ---- as a program


def _starvsr(*words: str | Path, **details) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "starvsr", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts if os.name == "posix" else None,
        **details,
    )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells make what they start in the background deaf to it


def test_help_names_every_option_and_loads_no_torch() -> None:
    code = (
        "import sys; from starvsr.apps.cli import main; main(['upscale', '--help']); main(['--help']);"
        "import starvsr; sys.exit(any(m in sys.modules for m in ('torch', 'av', 'numpy', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, _ in option_infos():
        assert flag_name(name) in done.stdout


@pytest.mark.timeout(900)  # a machine that is busy otherwise may take minutes to start a program
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_finished_and_the_same_command_goes_on(number: int, code: int, tmp_path: Path) -> None:
    source = _write_clip(tmp_path / "long.mp4", num_frames=60, size=(160, 120), rate=4)
    out = tmp_path / "out"
    out.mkdir()
    words = ("upscale", source, "-o", out / "o.mp4", "--segment", "2", "--codec", "hevc", *QUICK)
    with _starvsr(*words) as process:
        try:
            deadline = time.monotonic() + 300
            while not (out / "o.mp4.job" / "part_000000").exists() and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            process.send_signal(number)
            _, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == code
    note, error = err.splitlines()[-2:]
    assert error == "error: stopped: nothing was left half written"
    assert "are finished and kept in" in note and "the same command goes on" in note
    assert "Traceback" not in err
    assert _leftovers(out) == ["o.mp4.job"]
    assert main(["jobs", "resume", str(out / "o.mp4"), "-q"]) == 0
    assert _leftovers(out) == ["o.mp4"]
    assert sum(1 for _ in VideoReader(out / "o.mp4")) == 60
