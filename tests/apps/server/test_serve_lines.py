"""The lines of the pages that start a server: each starts, answers, and ends when it is told to."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from starvsr.apps.cli import main, serve_command
from tests.docs.pages import blocks_run_by

LINES = [
    line
    for block in blocks_run_by("tests/apps/server/test_serve_lines.py::test_lines_of_the_pages")
    for line in block.commands
]
FREE = ["--port", "0", "--data", "data", "--devices", "cpu"]


def answers(told: str) -> bool:
    """Whether the page is at the address of the line that a server says."""
    port = told.split(": ")[0].rsplit(":", 1)[1]
    answer = httpx2.get(f"http://127.0.0.1:{port}/", timeout=60, follow_redirects=True)
    return answer.status_code == 200


def serve_in_a_process(words: list[str]) -> int:
    with subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert answers(process.stdout.readline())
            process.send_signal(signal.SIGTERM)
            return process.wait(60)
        finally:
            process.kill()


def serve_here(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Serve in this thread; another one asks for the page, and tells this process to end."""
    asking: list[threading.Thread] = []
    found: list[bool] = []

    def ask(told: str) -> None:
        try:
            found.append(answers(told))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def say(told: str) -> None:
        asking.append(threading.Thread(target=ask, args=(told,)))
        asking[0].start()

    with monkeypatch.context() as patch:
        patch.setattr(serve_command, "say", say)
        status = main(words[1:])
    asking[0].join()
    assert found == [True]
    return status


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_lines_of_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in a process of its own, the others in this one, which has what they import."""
    assert len(LINES) >= 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    number = 0
    for line in LINES:
        words = shlex.split(line)
        if "--set-password" in words:
            command = [sys.executable, "-m", *words]
            given = subprocess.run(command, input="a long password\n", capture_output=True, text=True)
            assert given.returncode == 0, f"{line}\n{given.stderr}"
            continue
        words = [word.replace("/media/films", "clips") for word in words] + FREE
        assert (serve_here(words, monkeypatch) if number else serve_in_a_process(words)) == 0, line
        number += 1
    assert number >= 2
