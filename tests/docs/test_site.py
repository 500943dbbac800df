"""The site: built strictly, whole in itself, and a link that leads nowhere fails the build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from starvsr.families.options import option_infos
from starvsr.options import flag_name
from tests.docs.pages import ROOT

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")

ENVIRONMENT = {"NO_MKDOCS_2_WARNING": "1"}
_RESOURCE = re.compile(r"<(?:script|img|source|iframe)[^>]*\ssrc=\"([^\"]*)\"|<link[^>]*\shref=\"([^\"]*)\"")
_IN_STYLE = re.compile(r"url\((?:\"|')?(?!data:)([^)\"']*)|@import\s+([^;]*)")


def _build(tree: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out), *words]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = _build(ROOT, out)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_there_and_nothing_comes_from_elsewhere(site: Path) -> None:
    pages = {path.name for path in site.glob("*.html")}
    assert {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} < pages
    assert {"changelog.html", "contributing.html", "security.html", "options.html", "examples.html"} < pages
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        found = [one or other for one, other in _RESOURCE.findall(text)]
        assert found and not [link for link in found if re.match(r"(?:https?:)?//", link)], path.name
    for path in site.rglob("*.css"):
        for one, other in _IN_STYLE.findall(path.read_text(encoding="utf-8")):
            assert not re.match(r"(?:https?:)?//", one or other), path.name


def test_all_options_and_public_calls_are_on_it(site: Path) -> None:
    options = (site / "options.html").read_text(encoding="utf-8")
    assert all(f"<code>{flag_name(name)}</code>" in options for name, _ in option_infos())
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in ("upscale", "prepare", "stream", "open_preview", "load_upscaler", "CorruptFrameError"):
        assert re.search(rf'id="starvsr\.[a-z_.]*{name}"', api), name


def test_links_that_lead_nowhere_fail_the_build(tmp_path: Path) -> None:
    """On a small site with the hook and the checks of the real one."""
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config = re.sub(r"^nav:.*\Z", "", config, flags=re.M | re.S)
    config = re.sub(r"^  - mkdocstrings:.*?(?=^\w)", "", config, flags=re.M | re.S)
    shutil.copytree(ROOT / "docs" / "site", tmp_path / "docs" / "site", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mkdocs.yml").write_text(config)
    cards = ("src/starvsr/weights/star-small.md", "recipes/weights/stablevsr-tiny/README.md")
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *cards):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(
            "# Title\n\nSee [the page](docs/index.md#here).\n" if "/" not in name else "# Title\n"
        )
    page = tmp_path / "docs" / "index.md"
    page.write_text("# Start\n\n## Here\n\n[good](../SECURITY.md#title)\n")
    done = _build(tmp_path, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    wrong = ("missing.md", "../SECURITY.md#nowhere", "../src/nothing.py")
    away = ("http://arxiv.org/abs/1", "https://nobody-looked.example.com/a", "https://me@pypi.org/project/b")
    text = "\n".join([*(f"[wrong]({link})" for link in wrong), *away])
    page.write_text(f"# Start\n\n## Here\n\n{text}\n\n```\nhttp://code.example.com\n```\n")
    done = _build(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert all(told in done.stderr for told in ("missing.md", "#nowhere", "nothing.py", *away)), done.stderr
    assert "code.example.com" not in done.stderr
