"""The nodes in ComfyUI itself, headless on the CPU.

Runs where STARVSR_COMFYUI names a copy of ComfyUI and STARVSR_COMFYUI_PYTHON an interpreter with its requirements and
starvsr; test_nodes.py holds the same nodes against the contract that ComfyUI documents.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import starvsr
from starvsr.data.sample import make_sample_clip
from starvsr.video import VideoReader, probe
from tests.support.comfyui import NODES, ComfyUI, as_prompt, program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(program() is None, reason="STARVSR_COMFYUI names no copy of ComfyUI"),
]


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUI]:
    found = program()
    assert found is not None
    server = ComfyUI(found[0], tmp_path_factory.mktemp("comfyui") / "base", found[1])
    yield server
    server.close()


def _workflow(server: ComfyUI, name: str) -> dict:
    return as_prompt(json.loads((NODES / "example_workflows" / name).read_text()), server.get("/object_info"))


def _picture(path: Path, height: int = 48, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(3)
    pixels = np.kron(rng.integers(0, 256, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_the_example_with_an_image_makes_what_the_command_makes(comfyui: ComfyUI, tmp_path: Path) -> None:
    _picture(comfyui.base / "input" / "example.png")
    outputs = comfyui.run(_workflow(comfyui, "upscale_images.json"))
    starvsr.upscale(comfyui.base / "input" / "example.png", tmp_path / "wanted.png", device="cpu")
    made = np.asarray(Image.open(comfyui.file(outputs["4"]["images"][0])))
    assert made.shape == (192, 256, 3)
    assert np.array_equal(made, np.asarray(Image.open(tmp_path / "wanted.png")))
    compared = np.asarray(Image.open(comfyui.file(outputs["6"]["images"][0])))
    assert compared.shape == (192, 512, 3) and np.array_equal(compared[60:150, 260:500], made[60:150, 4:244])


def test_the_example_with_a_video_makes_what_the_command_makes(comfyui: ComfyUI, tmp_path: Path) -> None:
    clip = comfyui.base / "input" / "clip.mp4"
    make_sample_clip(clip, width=64, height=48, num_frames=16)
    prompt = _workflow(comfyui, "upscale_video.json")
    prompt["3"]["inputs"] |= {"scale": 1.5, "options": "duration=0.4\nsegment=5"}
    outputs = comfyui.run(prompt)
    made = comfyui.file(outputs["3"]["images"][0])
    wanted = tmp_path / "wanted.mp4"
    model = starvsr.load_upscaler("star-small", device="cpu")
    starvsr.upscale(clip, wanted, upscaler=model, scale=1.5, duration="0.4", segment=5)
    assert made.read_bytes() == wanted.read_bytes()
    assert probe(clip).has_audio and probe(made).has_audio
    assert len(list(VideoReader(made))) == len(list(VideoReader(wanted)))


def test_an_interrupted_run_stops_within_a_second_and_leaves_memory_as_before(comfyui: ComfyUI) -> None:
    _picture(comfyui.base / "input" / "example.png")
    comfyui.run(_workflow(comfyui, "upscale_images.json"))
    _picture(comfyui.base / "input" / "large.png", 360, 640)
    prompt = _workflow(comfyui, "upscale_images.json")
    prompt["1"]["inputs"]["image"] = "large.png"
    prompt["7"] = {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 24}}
    prompt["3"]["inputs"]["images"] = prompt["5"]["inputs"]["before"] = ["7", 0]
    process = psutil.Process(comfyui.process.pid)
    used = []
    for _ in range(2):
        before = process.memory_info().rss
        number = comfyui.start(prompt)
        time.sleep(12)
        assert comfyui.get("/queue")["queue_running"]
        began = time.monotonic(), sum(process.cpu_times()[:2])
        comfyui.post("/interrupt", {})
        told = comfyui.result(number)
        taken = time.monotonic() - began[0], sum(process.cpu_times()[:2]) - began[1]
        assert min(taken) < 1, taken  # beside other programs, a second of its own computing
        assert any(kind == "execution_interrupted" for kind, _ in told["status"]["messages"])
        time.sleep(2)
        used.append(process.memory_info().rss - before)
        print(
            f"stopped in {taken[0]:.2f} s, {taken[1]:.2f} s of processor time; {used[-1] / 2**20:+.0f} MiB afterwards"
        )
    assert used[-1] < 100 * 2**20, used  # the first run's allocator keeps what the next one takes again
    comfyui.run(_workflow(comfyui, "upscale_images.json"))
