"""The recipes of CONTRIBUTING.md, carried out in a copy of the tree: files written, changes made, commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from starvsr.video import probe
from tests.docs.pages import blocks_run_by
from tests.video.programs import ffmpeg

ROOT = Path(__file__).parents[2]
COPIED = ("src/starvsr", "tests/contracts", "tests/parity", "tests/support", "tests/conftest.py", "pyproject.toml")
_BLOCK = re.compile(r"(?:^`(?P<path>[^`\n]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)

DRIVER = """
import json, runpy, sys
results = []
for program, *words in json.loads(sys.argv[1]):
    if program == "starvsr":
        from starvsr.apps.cli import main
        results.append(main(words))
    elif program == "pytest":
        import pytest
        results.append(int(pytest.main(["-q", "-p", "no:cacheprovider", *words])))
    else:
        runpy.run_module(words[1], run_name="__main__")
        results.append(0)
    sys.stdout.flush()
print("results", *results)
"""
"""Runs commands one after the other in one process, so that torch is loaded once."""


@dataclass
class Recipes:
    files: dict[str, str] = field(default_factory=dict)
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    """File, what stands there, what stands there afterwards."""
    commands: list[list[str]] = field(default_factory=list)


def read_recipes(text: str) -> Recipes:
    recipes = Recipes()
    for block in _BLOCK.finditer(text):
        kind, path, content = block["kind"], block["path"], block["text"]
        if kind == "python":
            assert path is not None, f"no file name before the block that begins with {content[:60]!r}"
            recipes.files[path] = content
        elif kind == "diff":
            recipes.changes += read_changes(content)
    return recipes


def read_changes(diff: str) -> list[tuple[str, str, str]]:
    changes, path = [], ""
    for part in re.split(r"^(?:--- .*\n\+\+\+ (.*)\n)?@@.*\n", diff, flags=re.M)[1:]:
        if part is None:
            continue
        if "\n" not in part:
            path = part
            continue
        lines = part.splitlines()
        assert all(line[:1] in (" ", "+", "-") for line in lines if line), part
        before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        changes.append((path, before, after))
    return changes


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = read_recipes(text[text.index("## Adding things") :])
    blocks = blocks_run_by("tests/docs/test_recipes.py::test_the_recipes_work")
    recipes.commands += [shlex.split(line) for block in blocks for line in block.commands]
    return recipes


@pytest.fixture(scope="module")
def tree(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree in which all recipes have been followed, with a small clip."""
    tree = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tree / name)
    for name, text in recipes.files.items():
        assert not (tree / name).exists(), f"{name} is there already"
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name, before, after in recipes.changes:
        text = (tree / name).read_text()
        assert text.count(before) == 1, f"{name} has {text.count(before)} places like this, not 1:\n{before}"
        (tree / name).write_text(text.replace(before, after))
    source = "testsrc=size=16x12:rate=5:duration=0.6"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", tree / "clip.mkv")
    return tree


def test_the_recipes_work(recipes: Recipes, tree: Path) -> None:
    assert len(recipes.commands) >= 5 and {words[0] for words in recipes.commands} == {"starvsr", "pytest", "python"}
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(recipes.commands)],
        cwd=tree, env=environment, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert done.stdout.splitlines()[-1] == " ".join(["results", *["0"] * len(recipes.commands)]), told
    assert len(re.findall(r"\d+ passed", told)) == 2 and re.search(r"^sharp +x4", told, re.M), told
    assert "sharpness (float): How much to sharpen" in told and "longest_side (int)" in told
    assert "32x24, segments of" in told and "3 frames in form.mkv" in told
    assert "starvsr upscale clip.mkv -o form.mkv --model bicubic --scale 2\n" in told
    assert "failed: --scale is 9: give at most 4" in told
    found = {name: probe(tree / name) for name in ("sharp.mkv", "side.mkv", "form.mkv")}
    sizes = {name: (info.width, info.height) for name, info in found.items()}
    assert sizes == {"sharp.mkv": (64, 48), "side.mkv": (40, 30), "form.mkv": (32, 24)}


def test_what_the_recipes_write_is_in_the_projects_style(recipes: Recipes, tree: Path) -> None:
    changed = {name for name, *_ in recipes.changes}
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *recipes.files, *changed]
        done = subprocess.run(ruff, cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_change_that_does_not_fit_is_found() -> None:
    diff = "--- a.py\n+++ a.py\n@@\n one\n-two\n+three\n@@\n four\n+five\n--- b.py\n+++ b.py\n@@\n+six\n seven\n"
    assert read_changes(diff) == [
        ("a.py", "one\ntwo", "one\nthree"),
        ("a.py", "four", "four\nfive"),
        ("b.py", "seven", "six\nseven"),
    ]
