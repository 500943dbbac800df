"""The lines of the pages that start a server: each starts, answers, and ends when it is told to."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.docs.pages import blocks_run_by

LINES = [
    line
    for block in blocks_run_by("tests/apps/server/test_serve_lines.py::test_lines_of_the_pages")
    for line in block.commands
]


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_lines_of_the_pages(tmp_path: Path) -> None:
    assert len(LINES) >= 3
    (tmp_path / "clips").mkdir()
    for line in LINES:
        command = [sys.executable, "-m", *shlex.split(line)]
        if "--set-password" in command:
            given = subprocess.run(command, cwd=tmp_path, input="a long password\n", capture_output=True, text=True)
            assert given.returncode == 0, f"{line}\n{given.stderr}"
            continue
        command = [word.replace("/media/films", "clips") for word in command]
        command += ["--port", "0", "--data", "data", "--devices", "cpu"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = process.stdout.readline().split(": ")[0].rsplit(":", 1)[1]
                answer = httpx2.get(f"http://127.0.0.1:{port}/", timeout=60, follow_redirects=True)
                assert answer.status_code == 200, line
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, line
            finally:
                process.kill()
