"""`info`, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from starvsr.apps.cli import main


def test_info_as_words_and_json(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(clip)]) == 0
    assert "24x16" in capsys.readouterr().out
    assert main(["info", str(clip), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["width"] == 24
