"""The ONNX file of causal-sr, run by ONNX Runtime beside the network itself."""

from __future__ import annotations

import json
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from starvsr.apps.cli import main
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.weight_ends import join_ends
from starvsr.models.weights import save_weights
from starvsr.video import VideoReader, probe
from starvsr.video.codec_pass import write_lossless
from tests.docs.pages import blocks_run_by
from tests.metrics import synthetic_clips

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZES = {"width": 8, "num_blocks": 2, "memory": 1, "up_width": 4, "thin_width": 4}
SIZES |= {"thin_block": True, "context_width": 4, "context_blocks": 1, "context_after": 1}


def _network(seed: int) -> CausalSR:
    torch.manual_seed(seed)
    network = CausalSR(CausalSRConfig(**SIZES)).eval().requires_grad_(False)  # type: ignore[arg-type]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def _write(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    metadata = metadata or {"network": json.dumps(SIZES), "model": "causal-sr"}
    save_weights(tensors, path, dtype=torch.float32, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def both_ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ends = join_ends(_network(0).state_dict(), _network(1).state_dict())
    return _write(tmp_path_factory.mktemp("onnx") / "both.safetensors", ends)


@pytest.fixture(scope="module")
def vivid(both_ends: Path) -> Path:
    path = both_ends.with_suffix(".onnx")
    (block,) = blocks_run_by("tests/families/causal_sr/test_onnx_export.py::test_equals_the_network_through_scenes")
    (line,) = block.commands
    words = shlex.split(line.replace("both.safetensors", str(both_ends)).replace("--detail 0.7", "--detail 1"))
    assert words[0] == "starvsr" and main(words[1:]) == 0
    return path


class _Stream:
    """Runs the file frame after frame, as its users do."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.state: dict[str, Any] = {}

    def begin(self, height: int, width: int) -> None:
        inputs = self.session.get_inputs()[2:]
        self.state = {
            one.name: np.full((1, one.shape[1], height // 2, width // 2), np.nan, np.float32) for one in inputs
        }

    def step(self, frame: torch.Tensor, *, is_first: bool) -> torch.Tensor:
        feeds = {"frame": frame.numpy(), "is_first": np.array(is_first), **self.state}
        hq, *state = self.session.run(None, feeds)
        self.state = dict(zip(self.state, state, strict=True))
        return torch.from_numpy(hq)


@pytest.mark.parametrize("size", [(2, 2), (10, 14), (32, 18)])
def test_equals_the_network_through_scenes(vivid: Path, size: tuple[int, int]) -> None:
    network, stream = _network(1), _Stream(vivid)
    clips = torch.rand(2, 3, 4, *size, generator=torch.Generator().manual_seed(2)) * 2 - 1
    stream.begin(*size)  # its first state is never looked at
    for clip in clips:
        wanted = network(clip[None])[0].clamp(-1, 1)
        for index in range(4):
            made = stream.step(clip[None, :, index], is_first=index == 0)
            torch.testing.assert_close(made[0], wanted[:, index], rtol=0, atol=2e-6)


def test_the_example_upscales_a_video(vivid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = synthetic_clips.reference(3, 32, 49)
    write_lossless(tmp_path / "in.mkv", clip)
    example = Path(__file__).parents[3] / "examples" / "upscale_with_onnx.py"
    monkeypatch.setattr(sys, "argv", [example.name, str(vivid), str(tmp_path / "in.mkv"), str(tmp_path / "out.mp4")])
    runpy.run_path(str(example), run_name="__main__")
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == (192, 128)
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 3


def test_it_tells_what_it_is(vivid: Path) -> None:
    facts = onnxruntime.InferenceSession(vivid, providers=["CPUExecutionProvider"]).get_modelmeta()
    known = facts.custom_metadata_map
    assert known["model"] == "causal-sr" and known["detail"] == "1.0" and known["memory_frames"] == "1"
    assert len(known["weights_sha256"]) == 64 and not list(vivid.parent.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.safetensors", "--format", "onnx"], "there is no such run or file"),
        (["{file}", "--format", "onnx", "-o", "x.safetensors"], "ends in .onnx"),
        (["{file}", "--format", "onnx", "-o", "{folder}/none/x.onnx"], "does not exist"),
        (["{file}", "--format", "onnx", "--raw"], "are for runs"),
        (["{file}", "--format", "onnx", "--detail", "0.5"], "holds one end"),
        (["{small}", "--format", "onnx"], "cannot be written as an ONNX file; this works with causal-sr"),
        (["{unknown}", "--format", "onnx"], "does not tell its model"),
        (["{broken}", "--format", "onnx"], "broken.safetensors"),
        (["{file}"], "only with --format onnx"),
        (["{folder}", "--detail", "0.5"], "--detail is chosen when weights are used"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    tensors = _network(0).state_dict()
    names = {
        "folder": tmp_path,
        "file": _write(tmp_path / "file.safetensors", tensors),
        "small": _write(tmp_path / "small.safetensors", tensors, model="star-small"),
        "unknown": _write(tmp_path / "unknown.safetensors", tensors, network=json.dumps(SIZES)),
        "broken": tmp_path / "broken.safetensors",
    }
    names["broken"].write_bytes(b"nothing of the kind")
    before = sorted(tmp_path.iterdir())
    assert main(["export", *(word.format(**names) for word in arguments)]) != 0
    assert said in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_missing_packages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starvsr.families.causal_sr.onnx_export.find_spec", lambda name: None)
    weights = _write(tmp_path / "file.safetensors", _network(0).state_dict())
    assert main(["export", str(weights), "--format", "onnx"]) != 0
    assert "pip install 'starvsr[onnx]'" in " ".join(capsys.readouterr().err.split())
