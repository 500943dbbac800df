"""Pipes to and from programs that people have: the lines of the guide, run where the programs are installed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest

from starvsr.video import probe
from tests.docs.pages import blocks_run_by
from tests.video.clips import make_clip

_BLOCKS = blocks_run_by("tests/apps/test_pipe_programs.py::test_lines_of_the_guide")
LINES = [line for block in _BLOCKS for line in block.commands]
_NO_SCREEN = "mpv --no-config --really-quiet --vo=null --ao=null --untimed"


def _program(line: str) -> str:
    return next(word for word in shlex.split(line) if word in ("mpv", "x264"))


def test_the_guide_has_lines_for_both_programs() -> None:
    assert {_program(line) for line in LINES} == {"mpv", "x264"} and len(LINES) >= 4


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@pytest.mark.parametrize("line", LINES)
def test_lines_of_the_guide(line: str, tmp_path: Path) -> None:
    if shutil.which(_program(line)) is None:
        pytest.skip(f"{_program(line)} is not installed")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    (programs / "starvsr").write_text(f'#!/bin/sh\nexec {sys.executable} -m starvsr "$@" --model bicubic\n')
    (programs / "starvsr").chmod(0o755)
    make_clip(tmp_path / "clip.mp4", count=12, audio=["aac"])
    shown = line.replace("| mpv -", f"| {_NO_SCREEN} -").replace("mpv clip.mp4", "mpv --no-config clip.mp4")
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-o", "pipefail", "-c", shown]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    written = [path for path in tmp_path.iterdir() if path.is_file() and path.name != "clip.mp4"]
    assert len(written) == (0 if line.rstrip().endswith("mpv -") else 1)
    for path in written:
        made = probe(path)
        assert made.width == 256 and made.estimated_frames == 12, path.name
