"""The Space: its three files fit together, and it starts from the package."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("gradio") is None:  # not imported here, which takes 4 s
    pytest.skip("Gradio is not installed (extra page)", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples" / "space"


def test_its_files_fit_together() -> None:
    front = dict(re.findall(r"^(\w+): (.*)$", (SPACE / "README.md").read_text().split("---")[1], re.M))
    assert front["app_file"] == "app.py" and front["sdk"] == "gradio" and front["license"] == "apache-2.0"
    pinned = re.search(r"^gradio==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None and front["sdk_version"] == pinned[1]
    (extra,) = re.findall(r"^starvsr\[(\w+)\]$", (SPACE / "requirements.txt").read_text(), re.M)
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


def test_without_a_login_each_browser_is_a_guest(tmp_path: Path) -> None:
    build = runpy.run_path(str(SPACE / "app.py"))["build"]
    environment = {
        "STARVSR_DATA": str(tmp_path / "data"),
        "STARVSR_MODELS_OFFERED": "bicubic",
        "SPACE_HOST": "a.hf.space",
    }
    context = build(environment).state.context
    try:
        assert context.settings.options.guests and context.settings.frames == ("https://huggingface.co",)
        assert "a.hf.space" in context.settings.hosts
    finally:
        context.store.close()
        context.lock.release()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The program, started as the Hub starts it, with a login."""
    from starvsr.apps.server.login import set_password

    set_password(tmp_path / "made", "ada", "a long password")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "STARVSR_DATA": str(tmp_path / "data"),
        "STARVSR_USERS": (tmp_path / "made").read_text(),
        "STARVSR_MODELS_OFFERED": "bicubic",
        "SPACE_HOST": "user-starvsr.hf.space",
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, SPACE / "app.py"], env=environment, stderr=log, stdout=log)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _status(address: str, host: str | None = None, body: dict[str, str] | None = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **({} if host is None else {"host": host})}
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_it_starts_from_the_package(address: str, tmp_path: Path) -> None:
    for host in (None, "user-starvsr.hf.space"):
        status, text = _status(f"{address}/", host)
        assert status == 200 and "starvsr" in text
    assert _status(f"{address}/", "elsewhere.example")[0] == 403
    assert _status(f"{address}/api/v1/jobs")[0] == 401  # not a guest
    login = {"name": "ada", "password": "a long password"}
    assert _status(f"{address}/api/v1/login", body=login)[0] == 200
    assert (tmp_path / "data" / "users").stat().st_mode & 0o077 == 0
