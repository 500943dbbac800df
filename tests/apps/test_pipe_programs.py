"""Pipes to and from programs that people have: the lines of the guide, run where the programs are installed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from starvsr.video import probe
from tests.docs.pages import blocks_run_by
from tests.video.clips import make_clip

_FRAMES = (
    'exec ffmpeg -v error -f lavfi -i testsrc2=size=64x48:rate=24000/1001:duration=0.4 -pix_fmt yuv420p '
    '-f yuv4mpegpipe -'
)  # fmt: skip
_BLOCKS = blocks_run_by("tests/apps/test_pipe_programs.py::test_lines_of_the_guide")
LINES = [line for block in _BLOCKS for line in block.commands]
_NO_SCREEN = "mpv --no-config --really-quiet --vo=null --ao=null --untimed"


def _program(line: str) -> str:
    return next(word for word in shlex.split(line) if word in ("mpv", "x264"))


def test_the_guide_has_lines_for_both_programs() -> None:
    assert {_program(line) for line in LINES} == {"mpv", "x264"} and len(LINES) >= 4


def _write_programs(folder: Path) -> Path:
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    (folder / "starvsr").write_text(f'#!/bin/sh\nexec {sys.executable} -m starvsr "$@" --model bicubic\n')
    (folder / "starvsr").chmod(0o755)
    return folder


def _run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder / 'programs'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@pytest.mark.parametrize("line", LINES)
def test_lines_of_the_guide(line: str, tmp_path: Path) -> None:
    if shutil.which(_program(line)) is None:
        pytest.skip(f"{_program(line)} is not installed")
    _write_programs(tmp_path / "programs")
    make_clip(tmp_path / "clip.mp4", count=12, audio=["aac"])
    shown = line.replace("| mpv -", f"| {_NO_SCREEN} -").replace("mpv clip.mp4", "mpv --no-config clip.mp4")
    done = _run(shown, tmp_path)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    written = [path for path in tmp_path.iterdir() if path.is_file() and path.name != "clip.mp4"]
    assert len(written) == (0 if line.rstrip().endswith("mpv -") else 1)
    for path in written:
        made = probe(path)
        assert made.width == 256 and made.estimated_frames == 12, path.name


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_lines_with_vspipe(tmp_path: Path) -> None:
    """With a program that gives frames in place of vspipe; `test_pipes.py` has VapourSynth's where it is installed."""
    blocks = blocks_run_by("tests/apps/test_pipe_programs.py::test_lines_with_vspipe")
    lines = [line for block in blocks for line in block.commands]
    assert [line.count("starvsr") for line in lines] == [0, 1]
    programs = _write_programs(tmp_path / "programs")
    (programs / "vspipe").write_text(f'#!/bin/sh\n[ "$*" = "-c y4m script.vpy -" ] || exit 1\n{_FRAMES}\n')
    (programs / "vspipe").chmod(0o755)
    make_clip(tmp_path / "clip.mkv", count=12, audio=["aac"])
    for line, (width, audio) in zip(lines, ((64, True), (128, False)), strict=True):
        done = _run(f"{line} -y", tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        made = probe(tmp_path / "out.mkv")
        assert (made.width, made.has_audio, made.frame_rate) == (width, audio, Fraction(24000, 1001))
