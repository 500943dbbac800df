"""The notebook for a quick try: its cells run one after the other as they stand, and hold no outputs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from starvsr.video import probe

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quick_try.ipynb"
_MAGIC = re.compile(r"^%pip install .*$", re.M)


def _cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_it_is_stripped_and_begins_with_the_installation() -> None:
    cells = [cell for cell in _cells() if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert _MAGIC.search("".join(cells[0]["source"])) and "starvsr[demo]" in "".join(cells[0]["source"])
    assert len({cell["id"] for cell in _cells()}) == len(_cells())


def test_its_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """All but the installation, with a stand-in for the display of IPython; star-small on the sample clip."""
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shown: list[object] = []
    display = SimpleNamespace(
        display=shown.append, Image=lambda name, **_: Path(name), Video=lambda name, **_: Path(name)
    )
    monkeypatch.setitem(__import__("sys").modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(__import__("sys").modules, "IPython.display", display)
    names: dict[str, object] = {}
    for cell in _cells():
        if cell["cell_type"] == "code":
            text = _MAGIC.sub("", "".join(cell["source"]))
            text = text.replace("duration=0.5", "duration=0.1").replace('"sample.mp4"', '"sample.mp4", num_frames=8')
            exec(compile(ast.parse(text), cell["id"], "exec"), names)
    info = probe("large.mp4")
    assert (info.width, info.height, info.num_frames) == (1280, 720, 3) and info.has_audio
    assert all(path.stat().st_size for path in shown if isinstance(path, Path))
    picture = shown[-1]
    assert picture.size == (3 * 640, 360)  # type: ignore[attr-defined]
    assert "3 frames of 1280x720" in capsys.readouterr().out
