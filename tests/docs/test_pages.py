"""The pages: every command is run, here or by a test that the page names, but for those that name what they need."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import re
import shlex
from importlib import metadata
from pathlib import Path

import click
import pytest

from starvsr.apps.cli import cli as program
from starvsr.video import probe
from tests.docs.pages import PAGES, ROOT, Block, blocks_of, is_usage
from tests.docs.published import FAMILIES, published, use_packages
from tests.docs.reader import write_reader
from tests.docs.running import run_line

NAMES = [page.name for page in PAGES if any(block.runnable for block in blocks_of(page) if block.kind == "sh")]
NEEDED = {
    "the package index": r"pip install |python -m pip install |python3 -m venv |make |\.ci/run$",
    "Docker": r"(ARCHIVE=\S+ )?docker compose ",
    "Docker, GPU": r"docker (build|run) ",
}
"""What a block may need that the machine of the tests has not, and what its commands are: nothing else is left out."""
FETCHED = {"guide.md": ("star",), "models.md": FAMILIES, "tasks.md": ("star",), "training.md": FAMILIES}
"""Families whose published models the commands of a page fetch."""
_PROGRAM = re.compile(r"^(starvsr|python3?|pip|make|docker|curl|ffmpeg|torchrun|vspipe|mpv|pytest) ", re.M)


def _shell_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page) if block.kind == "sh"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", NAMES)
@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_what_a_page_says_can_be_typed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """In order, in one folder; by this process, and by a shell where a line has pipes."""
    folder = write_reader(tmp_path / "reader", page)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(folder / "programs"), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_packages(monkeypatch)
    with published(tmp_path, *FETCHED.get(page, ())):
        for line in [line for block in _shell_blocks() if block.page == page for line in block.runnable]:
            code, said = run_line(line, folder, monkeypatch)
            assert code == 0, f"{page}: {line}\n{said}{capsys.readouterr().err}"
    if page == "tasks.md":
        assert {(info.width, info.height) for info in map(probe, ("hd.mp4", "box.mp4"))} == {(160, 80), (200, 100)}
        assert probe("piped.mkv").width == 112


@pytest.mark.parametrize("page", ["index.md", "tasks.md", "quality.md", "README.md", "api.md"])
def test_the_python_of_the_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_reader(tmp_path / "reader")
    monkeypatch.chdir(folder)
    (path,) = [one for one in PAGES if one.name == page]
    for block in blocks_of(path):
        if block.kind == "python":
            exec(compile(block.text, block.page, "exec"), {})
            for name in folder.glob("large*"):
                name.unlink()


def test_no_command_is_left_out() -> None:
    """Each block is run here, run by another test, names what it needs, or is a form to be filled in."""
    counts = {"run here": 0, "run by another test": 0, "needs": 0, "form": 0}
    for block in _shell_blocks():
        assert block.commands, block
        assert not (block.run_by and block.needs), block
        if block.run_by:
            counts["run by another test"] += 1
        elif block.needs is not None:
            assert all(re.match(NEEDED[block.needs], command) for command in block.commands), block
            counts["needs"] += 1
        elif block.runnable:
            assert block.page in NAMES
            counts["run here"] += 1
        else:
            assert all(map(is_usage, block.commands)), block
            counts["form"] += 1
    assert all(counts.values()) and counts["run here"] >= 62 and counts["needs"] <= 21, counts
    for page in PAGES:
        for block in blocks_of(page):
            assert block.kind in ("sh", "python", "diff") or not _PROGRAM.search(block.text), (
                f"{page.name}: {block.text}"
            )


@pytest.mark.parametrize("test", sorted({block.run_by for block in _shell_blocks() if block.run_by}))
def test_a_test_that_a_page_names_runs_its_blocks(test: str) -> None:
    """It is there, and its file asks for the blocks that name it: `blocks_run_by("PATH::NAME")`."""
    path, name = test.split("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, test
    asked = [
        one.args[0].value
        for one in ast.walk(tree)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "blocks_run_by"
        if isinstance(one.args[0], ast.Constant)
    ]
    assert test in asked, f"{path} does not read the blocks that name it"


def _commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks_of(page) if block.kind == "sh" for line in block.commands]
    return [shlex.split(line) for line in lines if not is_usage(line) and not re.search(r"[|$<>]", line)]


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
        elif "install" in words[:4]:
            asked = {extra for word in words for extra in re.findall(r"\[(.*)\]", word) for extra in extra.split(",")}
            assert asked <= set(metadata.metadata("starvsr").get_all("Provides-Extra")), words
        elif words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert words[1] in targets, words


def test_a_flag_that_is_none_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nstarvsr upscale clip.mp4 --no-such-flag\n```\n")
    with pytest.raises(click.UsageError):
        test_commands_and_flags_exist(page)
