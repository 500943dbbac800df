"""Pages of a mapped file given back: what is let go comes back the same, and nothing else is touched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from starvsr.models.weights import assign as fitting
from starvsr.models.weights import read_tensors
from starvsr.models.weights.assign import build_empty, fit, release_pages

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system takes pages back by itself")
MB = 1 << 20


def _resident(tensor: torch.Tensor) -> int:
    """Bytes in memory of the mapping that a tensor lies in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            begin, end = (int(word, 16) for word in first.split("-"))
            inside = begin <= tensor.data_ptr() < end
        elif inside and first == "Rss:":
            return int(line.split()[1]) * 1024
    raise AssertionError("the tensor lies in no mapping")


@pytest.fixture(params=["pt", "safetensors"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(3 * MB // 4 + 7, generator=generator) for name in ("first", "second", "third")}
    path = tmp_path / f"w.{request.param}"
    torch.save(tensors, path) if request.param == "pt" else save_file(tensors, path)
    return path


@ON_LINUX
def test_memory_is_given_back_and_read_again_the_same(path: Path) -> None:
    tensors = read_tensors(path)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}  # reads every page
    full = _resident(tensors["second"])
    assert full >= 8 * MB
    release_pages(tensors["second"])
    left = _resident(tensors["second"])
    assert 2.5 * MB < full - left < 3.1 * MB  # its own whole pages, none of the neighbours'
    assert all(torch.equal(tensors[name], copy) for name, copy in copies.items())


@ON_LINUX
def test_what_was_changed_stays_changed(path: Path) -> None:
    tensor = read_tensors(path)["first"]
    tensor += 1
    wanted = tensor.clone()
    release_pages(tensor)
    assert torch.equal(tensor, wanted)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(5.0),  # less than a page
        torch.arange(1.0 * MB),  # not mapped from a file
        torch.arange(1.0 * MB).view(1024, -1).T,  # not one after the other
        torch.arange(1.0 * MB)[3:],
        torch.empty(0),
        torch.empty(7, device="meta"),
    ],
    ids=["small", "own", "transposed", "shifted", "empty", "meta"],
)
def test_other_tensors_are_left_as_they_are(tensor: torch.Tensor) -> None:
    copy = tensor.clone()
    release_pages(tensor)
    assert tensor.device.type == "meta" or torch.equal(tensor, copy)


def test_only_converted_tensors_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that becomes a parameter as it is must stay: letting it go would read the file twice."""
    source = {"weight": torch.randn(4, 4).half(), "bias": torch.randn(4)}
    save_file(source, tmp_path / "w.safetensors")
    gone: list[torch.dtype] = []
    monkeypatch.setattr(fitting, "release_pages", lambda tensor: gone.append(tensor.dtype))
    layer = build_empty(lambda: torch.nn.Linear(4, 4))
    fit(layer, read_tensors(tmp_path / "w.safetensors"), "w", dtype=torch.float32)
    assert gone == [torch.float16]
    assert torch.equal(layer.weight, source["weight"].float()) and torch.equal(layer.bias, source["bias"])
    assert load_file(tmp_path / "w.safetensors")["weight"].dtype == torch.float16
