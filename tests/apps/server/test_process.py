"""A server as users start it: hostile inputs beside an honest job, kills in mid-job, the lines of the documentation."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest

import starvsr
from benchmarks.reliability import fuzz_bombs
from benchmarks.reliability.fuzz_inputs import png
from tests.apps.server.running import RAW, parts_of, state_is, until
from tests.docs.pages import blocks_run_by
from tests.video.clips import make_clip

ROOT = Path(__file__).parents[3]
LIMITS = ("--max-upload", "300000", "--max-input-pixels", "100000", "--max-length", "60", "--threads", "1")


@contextlib.contextmanager
def started(data: Path) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """Start a server on a free port, and kill it at the end."""
    command = [sys.executable, "-m", "starvsr", "serve", "--port", "0", "--no-page", "--data", str(data), *LIMITS]
    process = subprocess.Popen(
        [*command, "--devices", "cpu", "--models", "star-small,bicubic"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split(": ")[0]
        with httpx2.Client(base_url=address, timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 frames in shots of 10, so that finished parts come one after the other."""
    rng = np.random.default_rng(0)
    shots = rng.integers(0, 256, (12, 12, 16, 3)).repeat(4, 1).repeat(4, 2).repeat(10, 0)
    frames = np.stack([np.roll(frame, index, 1) for index, frame in enumerate(shots)]).astype(np.uint8)
    return make_clip(tmp_path_factory.mktemp("film") / "film.mp4", frames, rate=Fraction(4), audio=["aac"])


def submit(client: httpx2.Client, name: str, content: bytes, **query: Any) -> Any:
    return client.post("/api/v1/jobs/file", params={"name": name, **query}, content=content, headers=RAW)


def worker_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            if "starvsr.apps.server.worker" in child.cmdline():
                return child
    return None


@pytest.mark.timeout(900)
def test_a_job_survives_a_killed_worker_and_a_killed_server_with_equal_bytes(film: Path, tmp_path: Path) -> None:
    query = {"model": "star-small", "scale": "2", "container": "mkv", "detail": "0.5"}
    with started(tmp_path / "data") as (process, client):
        job = submit(client, "film.mp4", film.read_bytes(), **query).json()["id"]
        until(lambda: parts_of(tmp_path / "data", job) >= 1)
        first = until(lambda: worker_of(process))
        first.send_signal(signal.SIGKILL)
        until(lambda: (new := worker_of(process)) is not None and new.pid != first.pid)
        kept = parts_of(tmp_path / "data", job)
        until(lambda: parts_of(tmp_path / "data", job) > kept)
        second = until(lambda: worker_of(process))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not second.is_running() or second.status() == psutil.STATUS_ZOMBIE)
        assert 0 < parts_of(tmp_path / "data", job) < 12
    with started(tmp_path / "data") as (process, client):
        done = state_is(client, job, "done")
        assert done["result"]["num_frames"] == 120 and done["result"]["num_kept"] > 0
        result = client.get(f"/api/v1/jobs/{job}/result").content
        ours = tmp_path / "ours.mkv"
        starvsr.upscale(film, ours, model="star-small", scale=2, detail=0.5, threads=1, device="cpu")
        assert result == ours.read_bytes()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.timeout(900)
def test_hostile_inputs_are_refused_while_an_honest_job_goes_on(film: Path, tmp_path: Path) -> None:
    with started(tmp_path / "data") as (process, client):
        honest = submit(client, "film.mp4", film.read_bytes(), model="bicubic", container="mkv").json()["id"]
        seeds = {"front.mp4": film.read_bytes()}
        long = make_clip(tmp_path / "long.mp4", count=8, rate=Fraction(1, 10)).read_bytes()
        hostile = {
            "garbage.mp4": (np.random.default_rng(0).bytes(5000), "garbage.mp4"),
            "list.m3u8": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "other files"),
            "bomb.png": (png(20_000, 20_000, pixels=bytes(1 << 16)), "20000x20000"),
            "deep.mp4": (fuzz_bombs.BOMBS["boxes in boxes in boxes"](seeds)[1], "deep.mp4"),
            "long.mp4": (long, "60"),
            "large.mp4": (make_clip(tmp_path / "large.mp4", count=1, size=(640, 480)).read_bytes(), "640x480"),
            "cut.mp4": (film.read_bytes()[:3000], "cut.mp4"),
        }
        jobs = {name: submit(client, name, content, model="bicubic") for name, (content, _) in hostile.items()}
        assert submit(client, "too large.mp4", bytes(300_001)).status_code == 413
        for name, answer in jobs.items():
            failed = state_is(client, answer.json()["id"], "failed")
            assert hostile[name][1] in failed["error"] and str(tmp_path) not in failed["error"], failed["error"]
            assert "unexpected" not in failed["error"]
        assert state_is(client, honest, "done")["result"]["num_frames"] == 120
        assert process.poll() is None
        _run_the_lines_of_the_documentation(client, film, tmp_path)


def _run_the_lines_of_the_documentation(client: httpx2.Client, film: Path, folder: Path) -> None:
    """The lines with curl of docs/server.md, one after the other in one shell, and the example."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(film, folder / "clip.mp4")
    asked = blocks_run_by(
        "tests/apps/server/test_process.py::test_hostile_inputs_are_refused_while_an_honest_job_goes_on"
    )
    blocks = [block.text for block in asked]
    assert len(blocks) >= 3
    address = str(client.base_url).rstrip("/")
    script = "set -e\n" + "\n".join(blocks).replace("http://127.0.0.1:7860", address)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr + done.stdout
    info = starvsr.probe(folder / "large.mp4")
    assert (info.width, info.height) == (128, 96) and info.has_audio
    example = [sys.executable, str(ROOT / "examples" / "use_the_server.py"), address, "clip.mp4", "example.mkv"]
    done = subprocess.run(example, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "120 frames of 128x96" in done.stdout, done.stderr
