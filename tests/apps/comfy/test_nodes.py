"""The nodes against the contract of ComfyUI: schemas, progress, interruption, files; results are the command's."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import starvsr
from starvsr.errors import InputError, OptionError, WeightsError
from starvsr.video import VideoReader, probe
from tests.support.comfy_double import InterruptProcessingException, VideoFromFile, installed, object_info
from tests.support.comfyui import NODES, as_prompt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

JOB = {"scale": 2.0, "detail": 1.0, "steps": 0, "seed": 0}
FILE = {"filename_prefix": "video/made", "format": "auto", "codec": "auto", "crf": -1}


@pytest.fixture
def comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    host, nodes = installed(tmp_path / "comfyui", monkeypatch)
    host.nodes = nodes
    return host


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from starvsr.data.sample import make_sample_clip

    return make_sample_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", width=48, height=32, num_frames=12)


def _images(count: int, height: int = 12, width: int = 16, levels: int = 256) -> torch.Tensor:
    codes = np.random.default_rng(0).integers(0, levels, (height, width, 3))
    moved = np.stack([np.roll(codes, n, 1) for n in range(count)])
    return torch.from_numpy(moved.astype(np.float32) / np.float32(levels - 1))


def test_the_schemas_follow_the_conventions(comfy: Any) -> None:
    extension = asyncio.run(comfy.nodes.comfy_entrypoint())
    listed = asyncio.run(extension.get_node_list())
    assert len(listed) == 4
    for node in listed:
        schema = node.define_schema()
        assert schema.node_id.startswith("StarVSR") and schema.category == "StarVSR" and schema.description
        assert all(one.tooltip for one in schema.inputs if one.id != "starvsr_model")
        names = [one.id for one in schema.inputs]
        together = [*names, *(one.id for one in schema.outputs if one.id is not None)]
        assert len(set(together)) == len(together), "older versions of ComfyUI refuse the node"
        assert all(one.display_name for one in schema.outputs)
        executed = node.execute.__func__.__code__.co_varnames[1 : node.execute.__func__.__code__.co_argcount]
        assert sorted(executed) == sorted(names)
        for one in schema.inputs:
            if "options" in one.details and one.kind == "COMBO":
                assert one.details["default"] in one.details["options"]


def test_the_folder_is_a_custom_node_of_this_version() -> None:
    facts = tomllib.loads((NODES / "pyproject.toml").read_text())
    assert facts["project"]["version"] == starvsr.__version__
    assert facts["project"]["name"] == "starvsr" and facts["tool"]["comfy"]["DisplayName"]
    assert facts["project"]["dependencies"] == (NODES / "requirements.txt").read_text().split()


@pytest.mark.parametrize("name", ["upscale_images.json", "upscale_video.json"])
def test_example_workflows_fit_the_nodes(comfy: Any, name: str) -> None:
    workflow = json.loads((NODES / "example_workflows" / name).read_text())
    own = {
        node.define_schema().node_id: node
        for node in (comfy.nodes.LoadModel, comfy.nodes.UpscaleImages, comfy.nodes.UpscaleVideo, comfy.nodes.Compare)
    }
    others = {
        "LoadImage": {"required": {"image": ["COMBO"]}},
        "SaveImage": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING"]}},
        "PreviewImage": {"required": {"images": ["IMAGE"]}},
        "LoadVideo": {"required": {"file": ["COMBO"]}},
    }
    told = {name: object_info(node) for name, node in own.items()} | {n: {"input": i} for n, i in others.items()}
    prompt = as_prompt(workflow, told)
    for node in workflow["nodes"]:
        inputs = prompt[str(node["id"])]["inputs"]
        if node["type"] not in own:
            continue
        schema = own[node["type"]].define_schema()
        assert set(inputs) == {one.id for one in schema.inputs}
        for one in schema.inputs:
            value = inputs[one.id]
            if isinstance(value, list):
                origin = next(other for other in workflow["nodes"] if str(other["id"]) == value[0])
                assert origin["outputs"][value[1]]["type"] == one.kind
            elif one.kind == "COMBO":
                assert value in one.details["options"]
            elif one.kind in ("INT", "FLOAT"):
                assert one.details["min"] <= value <= one.details["max"]
            else:
                assert isinstance(value, str)


@pytest.mark.parametrize("levels", [256, 65536])
def test_a_batch_becomes_what_the_command_makes_of_its_files(comfy: Any, levels: int, tmp_path: Path) -> None:
    import cv2

    images = _images(7, levels=levels)
    codes = (images.numpy() * (levels - 1)).round().astype(np.uint8 if levels == 256 else np.uint16)
    for n, frame in enumerate(codes):
        cv2.imwrite(str(tmp_path / f"in_{n}.png"), frame[..., ::-1])
    model = comfy.nodes.LoadModel.execute("star-small", "default", "auto").result[0]
    with torch.inference_mode():  # as ComfyUI runs nodes
        made = comfy.nodes.UpscaleImages.execute(
            model, images, **JOB, batch="frames of a video", options="segment=3\nscene-cuts=off"
        ).result[0]
    starvsr.upscale(
        tmp_path / "in_%d.png", tmp_path / "out_%d.png", upscaler=model, scale=2, segment=3, scene_cuts=False
    )
    for n, frame in enumerate(made.numpy()):
        wanted = cv2.imread(str(tmp_path / f"out_{n}.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert np.array_equal(np.rint(frame * (levels - 1)).astype(wanted.dtype), wanted)
        if levels == 256:  # ComfyUI's Save Image cuts fractions off
            assert np.array_equal((255.0 * frame).astype(np.uint8), wanted)
    assert comfy.progress[-1] == (7, 7)
    assert [value for value, _ in comfy.progress] == sorted(value for value, _ in comfy.progress)


def test_single_images_are_not_seen_together_and_alpha_stays(comfy: Any) -> None:
    model = comfy.nodes.LoadModel.execute("star-small", "default", "fp32").result[0]
    images = torch.cat([_images(3), torch.ones(3, 12, 16, 1)], dim=-1)
    run = comfy.nodes.UpscaleImages.execute
    together = run(model, images, **JOB, batch="single images").result[0]
    assert together.shape == (3, 24, 32, 4) and float(together[..., 3].min()) == 1
    for n in range(3):
        alone = run(model, images[n : n + 1], **JOB, batch="single images").result[0]
        assert torch.equal(alone[0], together[n])
    as_video = run(model, images, **JOB, batch="frames of a video").result[0]
    assert not torch.equal(as_video, together)


def test_an_interruption_ends_the_node_within_a_second_and_frees_its_memory(comfy: Any) -> None:
    model = comfy.nodes.LoadModel.execute("star-small", "default", "auto").result[0]
    images = _images(12, 144, 192)
    process = psutil.Process()
    stopped: list[tuple[float, float]] = []

    def stop_soon() -> None:
        time.sleep(1)
        stopped.append((time.monotonic(), time.process_time()))
        comfy.is_interrupted = True

    grown = []
    for _ in range(5):
        before = process.memory_info().rss
        threading.Thread(target=stop_soon, daemon=True).start()
        with pytest.raises(InterruptProcessingException):
            comfy.nodes.UpscaleImages.execute(model, images, **{**JOB, "scale": 4.0}, batch="frames of a video")
        taken = time.monotonic() - stopped[-1][0], time.process_time() - stopped[-1][1]
        assert min(taken) < 1, taken  # beside other programs, a second of its own computing
        assert not comfy.is_interrupted
        grown.append(process.memory_info().rss - before)
    assert min(grown[1:]) < 30 * 2**20, grown  # what is not freed grows each time; pieces of freed memory now and then
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_a_video_file_becomes_that_of_the_command_with_its_sound(comfy: Any, clip: Path, tmp_path: Path) -> None:
    model = comfy.nodes.LoadModel.execute("bicubic", "default", "auto").result[0]
    run = comfy.nodes.UpscaleVideo.execute
    made = run(model, VideoFromFile(str(clip)), **FILE, **JOB)
    out = Path(made.result[0].file)
    assert out == comfy.folder / "output" / "video" / "made_00001_.mp4"
    assert made.ui == [("made_00001_.mp4", "video", "output")]
    starvsr.upscale(clip, tmp_path / "wanted.mp4", upscaler=model, scale=2)
    assert out.read_bytes() == (tmp_path / "wanted.mp4").read_bytes() and probe(out).has_audio
    second = run(model, VideoFromFile(io.BytesIO(clip.read_bytes()), 0.1, 0.2), **{**FILE, "format": "mkv"}, **JOB)
    again = Path(second.result[0].file)
    assert again.name == "made_00002_.mkv" and 4 <= len(list(VideoReader(again))) <= 6
    assert not list((comfy.folder / "temp").iterdir())


def test_a_video_that_was_interrupted_goes_on_when_it_is_run_again(comfy: Any, tmp_path: Path) -> None:
    from starvsr.data.sample import make_sample_clip

    clip = make_sample_clip(
        tmp_path / "slow.mp4", width=48, height=32, num_frames=20, frame_rate=4
    )  # parts of 8 frames
    model = comfy.nodes.LoadModel.execute("bicubic", "default", "auto").result[0]
    job = {**JOB, "options": "segment=2\ncrossfade=0"}
    run = comfy.nodes.UpscaleVideo.execute

    def interrupt(value: float, _: float) -> None:
        comfy.is_interrupted = value >= 14

    comfy.on_progress = interrupt
    with pytest.raises(InterruptProcessingException):
        run(model, VideoFromFile(str(clip)), **FILE, **job)
    comfy.on_progress = lambda value, total: None
    other = run(model, VideoFromFile(str(clip)), **FILE, **{**job, "scale": 1.5, "options": "duration=1"})
    assert Path(other.result[0].file).name == "made_00002_.mp4"
    comfy.progress.clear()
    made = run(model, VideoFromFile(str(clip)), **FILE, **job)
    assert Path(made.result[0].file).name == "made_00001_.mp4" and comfy.progress[0][0] >= 8
    assert not list((comfy.folder / "output" / "video").glob("*.job"))


@pytest.mark.parametrize("layout", ["side by side", "sheet with details"])
def test_a_comparison_shows_both(comfy: Any, layout: str) -> None:
    before, after = torch.zeros(2, 24, 32, 3), torch.ones(2, 96, 128, 3)
    run = comfy.nodes.Compare.execute
    made = run(before, after, layout, "a", "b").result[0]
    assert made.shape[0] == 2 and made.shape[2] >= 256 and made.dtype == torch.float32
    half = made.shape[2] // 2
    assert float(made[0, 60:90, : half - 4].max()) < 0.1 and float(made[0, 60:90, half + 4 :].min()) > 0.9
    with pytest.raises(InputError, match="2 images before and 1 after"):
        run(before, after[:1], layout, "a", "b")


def test_wrong_inputs_are_refused_with_what_to_do(comfy: Any) -> None:
    load, run = comfy.nodes.LoadModel.execute, comfy.nodes.UpscaleImages.execute
    model = load("bicubic", "default", "auto").result[0]
    for options, message in (
        ("segment", "line 1: 'segment' is no option: write name=value"),
        ("# note\n\nsegmnt=4", "did you mean segment"),
        ("scale=2", "scale has an input of its own"),
        ("scene_cuts=perhaps", "write scene_cuts=false"),
        ("crf=3", "--crf has no use for frames in memory"),
        ("segment=0", "--segment is '0'"),
    ):
        with pytest.raises(OptionError, match=message):
            run(model, _images(1), **JOB, batch="single images", options=options)
    with pytest.raises(OptionError, match="no use for --prompt"):
        run(model, _images(1), **JOB, batch="single images", prompt="a dog")
    with pytest.raises(InputError, match=r"give \[frames, height, width, 3 or 4\]"):
        run(model, _images(1)[0], **JOB, batch="single images")
    with pytest.raises(WeightsError):
        load("star-small", "gone.safetensors", "auto")
