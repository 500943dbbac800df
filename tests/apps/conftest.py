"""What tests of commands find ready: a clip, and the one line of a command that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from starvsr.apps.cli import main
from tests.apps.commands import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("in") / "clip.mp4")


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
