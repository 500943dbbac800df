"""The steps of the image and what it runs, on a read-only root and by a user without rights, as a container has them.

No image is built: a mount namespace takes its place, in which the system and the interpreter of this machine stand for
those of the base.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from starvsr.data.sample import make_sample_clip

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "support" / "read_only_root.sh"


def _has_namespaces() -> bool:
    """Whether this process may make mount namespaces: Linux, and the rights of root."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None or os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not _has_namespaces(), reason="needs Linux and the rights of root, for a mount namespace"),
]


def _image_variables() -> dict[str, str]:
    """Return the variables that the Dockerfile sets for what runs."""
    text = (ROOT / "containers" / "Dockerfile").read_text().replace("\\\n", " ")
    runtime = text[text.index("AS runtime") :]
    line = re.search(r"^ENV (.*)$", runtime, re.MULTILINE)
    assert line is not None
    found = dict(word.split("=", 1) for word in shlex.split(line[1]))
    return {**found, "PATH": found["PATH"].replace("${PATH}", "/usr/local/bin:/usr/bin:/bin")}


class Image:
    """What a container would hold, as folders below ``folder``: opt, data, weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = next(path for path in sys.path if path.endswith("site-packages"))
        for name in ("root", "opt", "data", "weights"):
            (folder / name).mkdir()
        for name in ("data", "weights"):
            os.chown(folder / name, 10001, 10001)

    def _words(self, mode: str, words: Sequence[str | Path]) -> list[str]:
        shown = dict.fromkeys([sys.base_prefix, str(ROOT), self.packages])
        seen = [path for path in shown if not path.startswith("/usr")]
        seen = [path for path in seen if not any(path.startswith(f"{other}/") for other in seen)]
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", SCRIPT, mode, self.folder / "root"]
        return [str(word) for word in [*own, ":".join(seen), *words]]

    def build(self, extras: str) -> None:
        """Run install.sh as the image does; packages come from this environment."""
        wrapper = self.folder / "opt" / "python"  # its environments see the packages that are here already
        wrapper.write_text(
            f'#!/bin/sh\n{shlex.quote(sys.executable)} "$@"\n'
            f'test "$2" != venv || echo {shlex.quote(self.packages)} > "$(echo "$3"/lib/python*/site-packages)/a.pth"\n'
        )
        wrapper.chmod(0o755)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/tmp",
            "PYTHON": "/opt/python",
            "PIP_ARGS": "--no-index --no-build-isolation --no-deps" if find_spec("hatchling") else "",
        }
        words = self._words("build", [ROOT / "containers" / "install.sh", "/opt/starvsr", extras])
        subprocess.run(words, env=environment, check=True, timeout=900)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command as a container of the image does."""
        words_ = self._words("run", words)
        return subprocess.run(words_, env=_image_variables(), capture_output=True, text=True, check=False, timeout=600)

    @property
    def files(self) -> set[str]:
        """Files of the image, the volumes left out."""
        return {str(path.relative_to(self.folder)) for path in (self.folder / "opt").rglob("*")}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    made = Image(tmp_path_factory.mktemp("image"))
    made.build("server")
    return made


def test_nothing_can_be_written_but_the_volumes(image: Image) -> None:
    script = """
        id -u; id -g; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t '
        for place in / /opt /opt/starvsr /opt/starvsr/bin /usr /etc /data /weights /tmp; do
            if (echo x > $place/trial) 2> /dev/null; then echo "written $place"; fi
        done
    """
    done = image.run("sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [
        *("10001", "10001", "CapEff:0000000000000000", "CapBnd:0000000000000000", "NoNewPrivs:1"),
        *("written /data", "written /weights", "written /tmp"),
    ]
    # it is the file system that refuses, not the owner of the files alone
    mounts = image.run("cat", "/proc/self/mounts").stdout.splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    assert all(options[place][0] == "ro" for place in ("/", "/opt", "/usr", "/etc", str(ROOT)))


def test_the_command_upscales_a_clip(image: Image) -> None:
    before = image.files
    make_sample_clip(image.folder / "data" / "clip.mp4", width=32, height=24, num_frames=3)
    done = image.run("/opt/starvsr/bin/starvsr", "upscale", "/data/clip.mp4", "-o", "/data/large.mp4", "--threads", "1")
    assert done.returncode == 0, done.stderr
    made = image.folder / "data" / "large.mp4"
    assert made.stat().st_uid == 10001
    assert image.files == before


def test_the_server_answers_its_health_check(image: Image) -> None:
    before = image.files
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api/v1/server"
    script = f"""
        cd /data && starvsr serve --data /data --port {port} & server=$!
        for second in $(seq 120); do
            kill -0 $server || exit 3
            python {ROOT}/containers/healthcheck.py {url} && break
            sleep 1
        done
        python -c "import urllib.request; print(urllib.request.urlopen('{url}').read().decode())"
        kill $server && wait $server
    """
    done = image.run("sh", "-c", script)
    told = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert told, done.stderr
    assert json.loads(told[-1])
    assert image.files == before
