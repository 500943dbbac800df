"""Standard streams that are closed, broken, full or ASCII only stop no work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from starvsr.apps.cli import main
from starvsr.video import probe
from tests.apps.commands import QUICK

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")


def _run(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    line = line.replace("starvsr", f"{sys.executable} -m starvsr")
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_work_goes_on_without_any_stream(clip: Path, tmp_path: Path) -> None:
    done = _run(f"starvsr upscale {clip} -o o.mkv {' '.join(QUICK)} <&- >&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert probe(tmp_path / "o.mkv").width == 96
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.mkv"]


def test_work_goes_on_when_nobody_reads(clip: Path, tmp_path: Path) -> None:
    done = _run(f"(starvsr upscale {clip} -o o.mkv {' '.join(QUICK)}; echo $? > code) 2>&1 | true", tmp_path)
    assert (tmp_path / "code").read_text() == "0\n" and not done.stderr
    assert (tmp_path / "o.mkv").exists()


def test_commands_that_only_print_say_so_when_they_cannot(clip: Path, tmp_path: Path) -> None:
    unread = _run(f"(starvsr info {clip}; echo $? > code) | true", tmp_path)
    assert (tmp_path / "code").read_text() in ("141\n", "0\n") and not unread.stderr
    full = _run(f"starvsr info {clip} > /dev/full", tmp_path)
    assert full.returncode == 1 and b"standard output cannot be written" in full.stderr
    assert b"Exception" not in full.stderr and b"Traceback" not in full.stderr


def test_terminals_without_letters(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "日é.mp4"
    source.write_bytes(clip.read_bytes())
    done = _run("starvsr info *.mp4", tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert done.returncode == 0 and (b"\\u65e5" in done.stdout or "日".encode() in done.stdout)  # click writes UTF-8
    bare = _run("starvsr info *.mp4", tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert bare.returncode == 0 and b"24x16" in bare.stdout


def test_streams_that_are_none(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:  # as pythonw starts programs
        context.setattr(sys, "stdout", None)
        context.setattr(sys, "stderr", None)
        assert main(["upscale", str(clip), "-o", str(tmp_path / "o.mp4"), *QUICK]) == 0
        assert main(["info", "nothing.mp4"]) == 1
        for stream in (sys.stdout, sys.stderr):
            stream.close()
    assert (tmp_path / "o.mp4").exists()


def test_standard_input_is_no_file(clip: Path, tmp_path: Path) -> None:
    """A pipe cannot be read twice, whatever the output is called; a file behind it can, but has no folder."""
    for line in (f"cat {clip} | starvsr upscale /dev/stdin", f"cat {clip} | starvsr upscale /dev/fd/0 -o o.mkv"):
        done = _run(line, tmp_path)
        told = done.stderr.decode()
        assert done.returncode == 1 and told.startswith("error: /dev/") and told.count("\n") == 1
        assert "a pipe, which cannot be read twice" in told and "write it to a file first" in told
    done = _run(f"starvsr upscale /dev/stdin < {clip}", tmp_path)
    assert done.returncode == 1 and b"name one by -o" in done.stderr
    assert not list(tmp_path.iterdir())
