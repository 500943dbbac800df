"""The image and the services: what a linter would say, and the steps themselves in a plain environment."""

from __future__ import annotations

import http.server
import os
import re
import runpy
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "containers"


def _instructions() -> list[tuple[str, str]]:
    """Return (instruction, arguments) of the Dockerfile, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines]


def _stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions that make each target, those of the stages it is built on included."""
    stages: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in _instructions():
        if word == "FROM":
            base, _, name = rest.split()
            stages[name] = [(word, rest), *stages.get(base, [])]
        elif name:
            stages[name].append((word, rest))
    return stages


def test_bases_have_tags_and_folders_are_absolute() -> None:
    stages, arguments = _stages(), {rest.split("=")[0]: rest for word, rest in _instructions() if word == "ARG"}
    for word, rest in _instructions():
        if word == "FROM":
            base = rest.split()[0]
            if base not in stages:
                tag = base.partition(":")[2].strip("${}")
                assert tag and "latest" not in arguments[tag] and re.search(r"\d+\.\d+-\w", arguments[tag])
        if word == "WORKDIR":
            assert rest.startswith("/")
        if word in ("CMD", "ENTRYPOINT"):
            assert rest.startswith("[")
        assert word != "ADD" and "sudo" not in rest and not re.search(r"apt(-get)? (install|upgrade)", rest)
        assert word not in ("ARG", "ENV") or not re.search(r"(PASSWORD|TOKEN|SECRET)", rest)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_target_runs_without_rights_from_a_finished_environment(target: str) -> None:
    made = _stages()[target]
    words = [word for word, _ in made]
    user = next(rest for word, rest in made if word == "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    after = made[words.index("USER") :]
    assert not any(word == "RUN" for word, _ in after), "nothing is made by the user who runs it"
    assert any(word == "HEALTHCHECK" for word, _ in made) and ("ENTRYPOINT", '["starvsr"]') in made
    copied = [rest for word, rest in made if word == "COPY" and "--from" in rest]
    assert copied == [f"--from=build-{target} /opt/starvsr /opt/starvsr"]
    assert not any("pip" in rest or "compileall" in rest for word, rest in made if word == "RUN")
    assert any("/weights" in rest for word, rest in made if word == "VOLUME")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for word, rest in _instructions():
        if word == "COPY" and "--from" not in rest:
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
                assert any(name == path or name.startswith(f"{path}/") for path in kept), name
    assert (FOLDER / "install.sh").stat().st_mode & stat.S_IXUSR


def test_the_command_of_the_image_is_one_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from starvsr.apps.cli import main

    command = json.loads(next(rest for word, rest in _instructions() if word == "CMD"))
    assert main([command[0], "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in command if word.startswith("--"))
    extras = {name for _, rest in _instructions() if rest.startswith("EXTRAS=") for name in rest[8:-1].split(",")}
    known = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert extras <= known


def test_services_have_no_rights_and_write_only_to_volumes() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    assert {"server", "ray-head", "ray-worker"} == set(services["services"])
    for name, service in services["services"].items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
        assert service["build"]["target"] in _stages()
        assert any(mount.startswith("weights:/weights") for mount in service["volumes"])
        for mount in service["volumes"]:
            volume = mount.split(":")[0]
            assert volume.startswith("${") or volume in services["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "others reach it only if the operator says so"
        for other in service.get("depends_on", {}):
            assert other in services["services"] and "healthcheck" in services["services"][other]
    cuda = yaml.safe_load((FOLDER / "compose.cuda.yaml").read_text())["services"]
    assert set(cuda) == set(services["services"])
    assert all(service["build"]["target"] == "cuda" for service in cuda.values())
    assert cuda["ray-worker"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, True), (500, False), (None, False)])
def test_the_health_check_takes_an_answer_that_asks_for_a_login(status: int | None, healthy: bool) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert status is not None
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port if status is not None else 1
        is_healthy = runpy.run_path(str(FOLDER / "healthcheck.py"))["is_healthy"]
        assert is_healthy(f"http://127.0.0.1:{port}/api/v1/server") is healthy
        server.shutdown()


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_steps_of_the_image_make_a_server_that_writes_nothing_but_its_data(tmp_path: Path) -> None:
    """Run install.sh as the image does (packages come from this environment), then the server on a read-only tree."""
    here = next(path for path in sys.path if path.endswith("site-packages"))
    target = tmp_path / "starvsr"
    wrapper = tmp_path / "python"  # its environments see the packages that are here already
    wrapper.write_text(
        f'#!/bin/sh\n{shlex.quote(sys.executable)} "$@"\n'
        f'test "$2" != venv || echo {shlex.quote(here)} > "$(echo "$3"/lib/python*/site-packages)/here.pth"\n'
    )
    wrapper.chmod(0o755)
    arguments = "--no-index --no-build-isolation --no-deps" if _has("hatchling") else ""
    environment = {**os.environ, "PYTHON": str(wrapper), "PIP_ARGS": arguments}
    subprocess.run([FOLDER / "install.sh", target, "server"], env=environment, check=True, timeout=900)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    data = tmp_path / "data"
    data.mkdir()
    program = [target / "bin" / "starvsr", "serve", "--data", data, "--port"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    empty = {"PATH": f"{target}/bin:/usr/bin:/bin", "HOME": str(tmp_path / "none"), "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([*program, str(port)], env=empty, cwd=data)
    try:
        check = [target / "bin" / "python", FOLDER / "healthcheck.py", f"http://127.0.0.1:{port}/api/v1/server"]
        end = time.monotonic() + 120
        while subprocess.run(check, env=empty, check=False).returncode:
            assert server.poll() is None and time.monotonic() < end
            time.sleep(0.5)
        assert not (tmp_path / "none").exists() and (data / "users").exists() is False
    finally:
        server.terminate()
        server.wait(30)


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
