"""The pages: commands are run where a clip and this machine are enough; elsewhere they exist, with all their flags."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import imageio_ffmpeg
import pytest

from starvsr.apps.cli import cli as program
from starvsr.apps.cli import main
from starvsr.video import probe
from tests.docs.pages import PAGES, ROOT, Block, blocks_of
from tests.video.programs import ffmpeg

RUN = ("index.md", "tasks.md", "quality.md", "README.md")
"""Pages whose commands are all run, but for those that name what they need."""
SMALLER = {"1920x1080": "200x100", "1080": "80"}
"""Sizes that the clip of this test takes in place of those of the pages."""
_SEPARATORS = {"|", "||", "&&", ";", "&"}
_USAGE = re.compile(r"\.\.\.|\[|[<>]|\||\$")  # a form to be filled in, or a line for the shell


def run_blocks(kind: str, pages: tuple[str, ...] = RUN) -> list[Block]:
    return [block for page in PAGES if page.name in pages for block in blocks_of(page) if block.kind == kind]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: a clip with sound, a folder of clips, photos and numbered frames."""
    folder = tmp_path_factory.mktemp("reader")
    picture = ["-f", "lavfi", "-i", "testsrc2=size=56x28:rate=25:duration=0.2"]
    sound = ["-f", "lavfi", "-i", "sine=duration=0.2", "-shortest"]
    for name in ("clips", "photos", "frames"):
        (folder / name).mkdir()
    for name in ("clip.mp4", "old.mp4", "clips/a.mp4"):
        ffmpeg(*picture, *sound, "-pix_fmt", "yuv420p", folder / name)
    ffmpeg(*picture, "-frames:v", "3", folder / "frames" / "f_%05d.png")
    for name in ("cat", "dog"):
        ffmpeg(*picture, "-frames:v", "1", folder / "photos" / f"{name}.png")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    (programs / "starvsr").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m starvsr "$@"\n')
    (programs / "starvsr").chmod(0o755)
    return folder


def _smaller(line: str) -> str:
    for size, small in SMALLER.items():
        line = line.replace(f" {size}", f" {small}")
    return line


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN)
@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_what_a_page_says_can_be_typed(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """In order, in one folder; by this process, and by a shell where a line has pipes."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{folder / 'programs'}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = 0
    for block in run_blocks("sh", (page,)):
        if block.needs is not None:
            continue
        for line in map(_smaller, block.commands):
            words = shlex.split(line)
            if _SEPARATORS & set(words):
                ended = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True)
                assert ended.returncode == 0, f"{block.page}: {line}\n{ended.stderr}"
            else:
                assert words[0] == "starvsr", f"{block.page}: {line}: not run by this test, so it names what it needs"
                again = ["--overwrite"] if words[1] == "upscale" and "--overwrite" not in words else []
                code = main([*words[1:], *again])  # several pages write the same names
                assert code == 0, f"{block.page}: {line}\n{capsys.readouterr().err}"
            done += 1
    assert done >= (14 if page == "tasks.md" else 2)
    if page == "tasks.md":
        assert {(info.width, info.height) for info in map(probe, ("hd.mp4", "box.mp4"))} == {(160, 80), (200, 100)}
        assert probe("piped.mkv").width == 112


def test_the_python_of_the_pages_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    api = [block for block in blocks_of(ROOT / "docs" / "api.md") if block.kind == "python"]
    blocks = [*run_blocks("python"), *api]
    assert len(blocks) >= 3
    for block in blocks:
        for name in folder.glob("py_large*"):
            name.unlink()
        exec(compile(block.text.replace('"large', '"py_large'), block.page, "exec"), {})


def _commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks_of(page) if block.kind == "sh" for line in block.commands]
    return [shlex.split(line, comments=True) for line in lines if not _USAGE.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_flags_exist(page: Path) -> None:
    for words in _commands(page) if page.name != "CONTRIBUTING.md" else ():  # its recipes make what they run
        if words[0] == "starvsr":
            command = program.get_command(click.Context(program), words[1])
            assert command is not None, words
            with contextlib.suppress(click.exceptions.Exit), command.make_context(words[1], words[2:]):
                pass
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, words
        elif words[0] == "python" and words[1].startswith("examples/"):
            assert (ROOT / words[1]).is_file(), words
        elif words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert words[1] in targets, words


def test_a_flag_that_is_none_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nstarvsr upscale clip.mp4 --no-such-flag\n```\n")
    with pytest.raises(click.UsageError):
        test_commands_and_flags_exist(page)
