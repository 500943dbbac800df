"""Pictures of the page: nothing is begun where there is no browser."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.server import page_pictures


def test_without_a_browser_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["page_pictures", "--folder", str(tmp_path)])
    assert page_pictures.main() == 1 and "no Chromium" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
