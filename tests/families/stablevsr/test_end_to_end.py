"""From a stand-in hub with the published layout to a video with sound, by the command; interrupted and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from starvsr import probe
from starvsr.apps.cli import main
from starvsr.families.stablevsr.spec import REPOSITORY
from starvsr.jobs.journal import read_journal
from tests.families.stablevsr.clips import clip as random_clip
from tests.families.stablevsr.clips import run
from tests.families.stablevsr.test_load import load
from tests.jobs.interrupting import break_at, records, run_to_end
from tests.support.hub_server import StandInHub, serve
from tests.video.programs import ffmpeg

OPTIONS = {"model": "stablevsr", "flow": "dis", "steps": 1, "segment": 4, "overlap": 1}
WORDS = ["--model", "stablevsr", "--flow", "dis", "--steps", "1", "--segment", "4", "--overlap", "1"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 frames, two a second, so that there are two parts of eight; with sound."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    pictures = ["-f", "lavfi", "-i", "testsrc2=size=36x32:rate=2:duration=8"]
    sound = ["-f", "lavfi", "-i", "sine=duration=8"]
    ffmpeg(*pictures, *sound, "-c:v", "libx264", "-qp", "10", "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


@pytest.fixture
def hub(published, monkeypatch, tmp_path):
    files = {f"{REPOSITORY}/{path.relative_to(published)}": path for path in published.rglob("*") if path.is_file()}
    monkeypatch.delenv("STARVSR_MODELS", raising=False)
    with serve(StandInHub(files=files)) as hub:
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub


def test_from_the_hub_to_a_video_with_sound(hub, model, clip, tmp_path, capsys):
    for words in (["fetch", "stablevsr", "-q"], ["verify", "stablevsr"]):
        assert main(["models", *words]) == 0, capsys.readouterr().err
    folder, out = tmp_path / "folder", tmp_path / "out.mp4"
    assert main(["models", "convert", "stablevsr", "-o", str(folder)]) == 0
    lq = random_clip(2)
    assert (run(load(folder), lq, steps=1) == run(model, lq, steps=1)).all()
    assert main(["upscale", str(clip), "-o", str(out), *WORDS, "-q"]) == 0, capsys.readouterr().err
    info, source = probe(out), probe(clip)
    assert (info.width, info.height) == (144, 128) and info.estimated_frames == source.estimated_frames == 16
    assert sound_of(out) == sound_of(clip) != b""


def test_a_dry_run_tells_what_is_needed_and_writes_nothing(published, clip, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["upscale", str(clip), *WORDS, "--weights", str(published), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert all(
        words in told for words in ("predicted: ", "sampling ", "decode ", "at once in the first half of the UNet")
    )
    assert not list(tmp_path.iterdir())


def test_an_interrupted_job_gives_the_bytes_of_an_undisturbed_one(published, clip, tmp_path):
    """With frames in two tiles."""
    options = {**OPTIONS, "weights": published, "tile": 32, "tile_overlap": 8}
    run_to_end(clip, tmp_path / "whole.mp4", **options)
    break_at(clip, tmp_path / "cut.mp4", 9, **options)
    assert len(records(tmp_path / "cut.mp4", "part")) == 1
    run_to_end(clip, tmp_path / "cut.mp4", **options)
    assert (tmp_path / "cut.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("scene_cuts", [True, False])
def test_no_frame_depends_on_what_lies_across_a_scene_cut(published, tmp_path, scene_cuts):
    """The same second scene after two different first ones: equal pictures, but where cuts are not looked for."""
    seconds = []
    for name, level in (("dark", 0), ("light", 90)):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(8):
            picture = ramp(index, level) if index < 4 else checks(index)
            Image.fromarray(picture).save(folder / f"f_{index}.png")
        out = tmp_path / f"{name}_x4" / "f_%d.png"
        out.parent.mkdir()
        run_to_end(
            folder / "f_%d.png",
            out,
            **OPTIONS | {"weights": published, "steps": 2, "segment": 8, "scene_cuts": scene_cuts},
        )
        made = [np.asarray(Image.open(file)) for file in sorted(out.parent.glob("*.png"))]
        assert len(made) == 8
        seconds.append(np.stack(made[4:]))
    assert (seconds[0] == seconds[1]).all() == scene_cuts


def ramp(index: int, level: int) -> np.ndarray:
    columns = np.arange(36, dtype=np.uint8) * 3 + index + level
    return np.repeat(np.repeat(columns[None, :, None], 32, 0), 3, 2)


def checks(index: int) -> np.ndarray:
    rows, columns = np.mgrid[:32, :36] + index
    return np.repeat(((rows // 4 + columns // 4) % 2 * 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
def test_a_killed_command_is_resumed_to_the_same_bytes(clip, tmp_path):
    """From what `models fetch` got of the stand-in hub, with frames in tiles, to a video with its sound."""
    assert main(["models", "fetch", "stablevsr", "-q"]) == 0
    tiles = ["--tile", "32", "--tile-overlap", "8"]
    words = [sys.executable, "-m", "starvsr", "upscale", str(clip), *WORDS, *tiles, "-q", "-o"]
    here = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **here, "OMP_NUM_THREADS": "1"}
    subprocess.run([*words, "whole.mp4"], cwd=tmp_path, env=environment, check=True)
    killed = subprocess.Popen([*words, "cut.mp4"], cwd=tmp_path, env=environment)
    journal, until = tmp_path / "cut.mp4.job" / "journal", time.monotonic() + 240
    while time.monotonic() < until and killed.poll() is None:
        if journal.is_file() and any(record["kind"] == "part" for record in read_journal(journal)[0]):
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "it ended before it could be killed"
    subprocess.run([*words, "cut.mp4"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "cut.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sound_of(tmp_path / "cut.mp4") == sound_of(clip) != b""


def sound_of(path: Path) -> bytes:
    return ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-")
