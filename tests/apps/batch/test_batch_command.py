"""`starvsr batch` as it is typed, with processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import starvsr
from starvsr.apps.cli import main
from tests.jobs.interrupting import sha256_of

QUICK = ["--model", "bicubic", "--scale", "2", "--threads", "1", "--device", "cpu"]


def run(*words: str | Path, **details) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "starvsr", "batch", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **details)


def test_the_command_does_a_folder_and_tells_what_failed(videos: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "clips.jsonl"
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    lines = [{"input": str(videos / "a.mp4")}, {"input": "bad.mp4"}, {"input": str(videos / "sub/long.mp4")}]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    words = [manifest, "-o", tmp_path / "out", *QUICK, "--workers", "2", "--share", "3"]
    done = run(*words)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "2 done, 0 left, 1 failed\n"
    assert "failed: bad_x2.mp4" in done.stderr
    assert "given up after 3 tries" in done.stderr
    starvsr.upscale(videos / "sub/long.mp4", tmp_path / "alone.mp4", model="bicubic", scale=2, threads=1, device="cpu")
    assert sha256_of(tmp_path / "out/long_x2.mp4") == sha256_of(tmp_path / "alone.mp4")
    again = run(*words, "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (1, "2 done, 0 left, 1 failed\n", "")


def test_a_killed_worker_and_a_killed_driver_lose_nothing(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = [{"input": str(videos / "sub/long.mp4"), "output": f"{n}.mp4"} for n in range(8)]
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    words = [manifest, "-o", out, *QUICK]
    command = [sys.executable, "-m", "starvsr", "batch", *map(str, words)]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        _await(lambda: len(list(out.glob("_batch/clips/*.json"))) > 1, driver)
        worker = _children(driver.pid)[0]
        os.kill(worker, signal.SIGKILL)
        _await(lambda: len(list(out.glob("_batch/clips/*.json"))) > 3, driver)
    finally:
        driver.kill()
    _, told = driver.communicate()
    assert "was lost" in told
    done = run(*words)
    assert (done.returncode, done.stdout) == (0, "8 done, 0 left, 0 failed\n"), done.stderr
    assert len({sha256_of(out / f"{n}.mp4") for n in range(8)}) == 1
    records = [json.loads(path.read_bytes()) for path in out.glob("_batch/clips/*.json")]
    assert sorted(record["tries"] for record in records)[-1] <= 2


def _await(condition, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    import psutil

    return [
        child.pid for child in psutil.Process(pid).children() if "starvsr.apps.batch.local_worker" in child.cmdline()
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in"], "Missing option '-o'"),
        (["in", "-o", "out", "--address", "auto"], "--address is for --engine ray"),
        (["in", "-o", "out", "--min", "vmaf"], "give METRIC=VALUE"),
        (["in", "-o", "out", "--share", "0"], "a time above 0"),
        (["in", "-o", "out", "--scale", "many"], "--scale"),
    ],
)
def test_wrong_usage_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "star-light"], "starvsr models fetch star-light"),
        (["--model", "bicubic", "--steps", "0"], "--steps"),
        (["--min", "nothing=3"], "unknown metric"),
        (["--min", "color_error_lq_de00=3"], "did you mean --max"),
        (["--min", "psnr_y_db=3"], "reference"),
        (["--devices", "cuda:9"], "there is no cuda:9 here"),
    ],
)
def test_what_workers_would_stumble_over_is_told_before_they_start(
    words: list[str], message: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARVSR_CACHE", str(tmp_path / "none"))
    from starvsr.apps.batch import preflight
    from starvsr.apps.batch.figures import metric_names
    from starvsr.apps.batch.settings import bound_of
    from starvsr.families.options import UpscaleOptions

    del videos
    with pytest.raises((starvsr.StarVsrError, ValueError), match=message):
        given = dict(zip((word[2:] for word in words[::2]), words[1::2], strict=True))
        bounds = [bound_of(given.pop("min"), "min")] if "min" in given else []
        options = UpscaleOptions(**given)
        asked = {
            "options": [{"model": options.model}],
            "device": options.device,
            "devices": options.devices,
            "metrics": metric_names((), bounds),
            "bounds": [[bound.metric, bound.value, bound.side] for bound in bounds],
        }
        preflight._look(asked)


def test_every_gpu_gets_a_process_and_kinds_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from starvsr.apps.batch.preflight import _gpus
    from starvsr.errors import OptionError

    assert _gpus("auto", "cpu,cpu") == [None, None]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _gpus("auto", None) == ["0", "1"]
    assert _gpus("cuda:1", None) == ["1"]
    assert _gpus("cpu", None) == [None]
    assert _gpus("auto", "cuda:1,cuda:1") == ["1", "1"]
    with pytest.raises(OptionError, match="more than one kind"):
        _gpus("auto", "cuda:0,cpu")


def test_an_address_without_a_cluster_is_told_at_once() -> None:
    from starvsr.apps.batch.ray_cluster import refuse_unreachable
    from starvsr.errors import OptionError

    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(OptionError, match="no Ray cluster can be reached"):
            refuse_unreachable(address)
    refuse_unreachable("auto")
    refuse_unreachable(None)


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from starvsr.apps.batch.ray_engine import RayEngine
    from starvsr.apps.batch.settings import WorkSettings
    from starvsr.errors import OptionError

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"pip install 'starvsr\[ray\]'"):
        RayEngine(WorkSettings("out", "scratch")).start()
