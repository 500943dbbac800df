"""Weights into networks: every name accounted for, nothing copied, nothing run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from starvsr.errors import WeightsError
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights import build_empty, fit, load_star_unet, load_training_start, read_metadata, read_tensors
from starvsr.models.weights.assign import check_fit
from starvsr.models.weights.star import VENHANCER_ONLY, liem_names

SMALL = StarUNetConfig(
    width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(4, 4), dropout=0.0,
)  # fmt: skip
VENHANCER_DIGEST = "509fb6dd629041a68d9cb0631f4f35e315fdab812fa3293066616d50941d6f41"


def _small_weights(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = build_empty(lambda: StarUNet(SMALL)).state_dict()
    return {key: torch.randn(tensor.shape, generator=generator).to(dtype) for key, tensor in shapes.items()}


def _venhancer(weights: dict[str, torch.Tensor], config: StarUNetConfig) -> dict[str, torch.Tensor]:
    """Make VEnhancer's tensors of STAR's."""
    width = 4 * config.width
    inputs = {"hint_time_zero_linear": width, "scale_cond.0": config.width, "scale_cond.2": width}
    extra = {}
    for layer, count in inputs.items():
        like = next(iter(weights.values()))
        extra[f"VideoControlNet.{layer}.weight"] = like.new_zeros(width, count)
        extra[f"VideoControlNet.{layer}.bias"] = like.new_zeros(width)
    return {key: tensor for key, tensor in weights.items() if key not in liem_names(weights)} | extra


def test_safetensors_whose_length_begins_like_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for note in range(300):  # headers are padded to eight bytes, so one of these is 0x..80 long
        save_file({"a": torch.ones(2)}, path, metadata={"note": "x" * note})
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"
    assert torch.equal(read_tensors(path)["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("kind", "wrapped", "dtype"),
    [
        ("zip", False, torch.float16),
        ("zip", True, torch.float32),
        ("legacy", True, torch.float16),
        ("safetensors", False, torch.float32),
    ],
)
def test_checkpoints_load_exactly(kind: str, wrapped: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    weights, path = _small_weights(dtype), tmp_path / "weights.pt"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        content = {"state_dict": OrderedDict(weights), "step": 15_000} if wrapped else weights
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    network = load_star_unet(path, SMALL)
    assert not network.training
    loaded = network.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) and loaded[key].dtype == dtype for key in weights)
    assert all(parameter.requires_grad for parameter in network.parameters())
    other = torch.float16 if dtype == torch.float32 else torch.float32
    converted = load_star_unet(path, SMALL, dtype=other).state_dict()
    assert all(torch.equal(converted[key], weights[key].to(other)) for key in weights)


def test_loaded_network_computes_what_the_saved_one_did(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = StarUNet(SMALL).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    generator = torch.Generator().manual_seed(0)
    x, hint = (torch.randn(1, 4, 2, 6, 4, generator=generator) for _ in range(2))
    inputs = (x, torch.tensor([500]), torch.randn(1, 5, 24, generator=generator), hint)
    with torch.no_grad():
        assert torch.equal(load_star_unet(tmp_path / "w.pt", SMALL)(*inputs), network(*inputs))


def _refusal(path: Path, config: StarUNetConfig | None = SMALL) -> str:
    with pytest.raises(WeightsError) as caught:
        load_star_unet(path, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_and_unexpected_tensors_are_named_but_not_all(tmp_path: Path) -> None:
    weights = _small_weights()
    for index in range(30):
        weights[f"extra.{index}"] = torch.zeros(1)
    gone = [key for key in weights if key.startswith("out.")]
    for key in gone:
        del weights[key]
    weights["time_embed.0.bias"] = torch.zeros(7)
    torch.save(weights, tmp_path / "w.pt")
    line = _refusal(tmp_path / "w.pt")
    assert f"{len(gone)} missing (out.0.weight" in line
    assert "30 unexpected (extra.0, extra.1, extra.2, extra.3, extra.4 and 25 more)" in line
    assert "1 of another shape (time_embed.0.bias)" in line
    assert len(line) < 600


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    weights = _small_weights()
    weights["out.0.bias"] = torch.zeros(32, dtype=torch.int8)
    torch.save(weights, tmp_path / "w.pt")
    assert "1 not of a floating type (out.0.bias)" in _refusal(tmp_path / "w.pt")


class _Runs:
    """A pickle of this runs a command when it is opened."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._mark}",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain", "protocol 4"])
def test_pickle_that_wants_more_is_refused_by_name_and_not_run(kind: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "was-run", tmp_path / "w.pt"
    content = {**_small_weights(), "surprise": _Runs(mark)}
    if kind == "plain":
        path.write_bytes(pickle.dumps({"surprise": _Runs(mark)}, protocol=2))
    elif kind == "protocol 4":
        torch.save({"surprise": _Runs(mark)}, path, pickle_protocol=4)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    line = _refusal(path)
    assert f"{os.system.__module__}.system" in line and "safetensors" in line
    assert not mark.exists()


def test_name_hidden_from_the_check_is_refused_by_torch(tmp_path: Path) -> None:
    """A pickle beside data.pkl is looked at too, and what is put together from memory has no name."""
    sneaky = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R."
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", sneaky)
        archive.writestr("w/version", "3\n")
    assert "a name put together while reading" in _refusal(path)


def test_training_leftovers_are_explained(tmp_path: Path) -> None:
    import argparse

    torch.save({"state_dict": _small_weights(), "args": argparse.Namespace(lr=1)}, tmp_path / "w.pt")
    assert "argparse.Namespace" in _refusal(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither safetensors nor"),
        (b"<!DOCTYPE html><html>not found</html>", "neither safetensors nor"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8\n", "Git LFS"),
        (b"PK\x03\x04 and nothing else", "damaged or cut off"),
        (b"\x80\x02}q\x00", "damaged or cut off"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{ no header }   ", "get the file again"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    assert words in _refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("keep", [0.3, 0.999])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_cut_off_checkpoints_are_refused(suffix: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(_small_weights(), path)
    else:
        save_file(_small_weights(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert "get the file again" in _refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(2)], "a list, not tensors by name"),
        ({}, "no tensors"),
        ({"model": {"a": torch.zeros(2)}, "step": 3}, "no tensors (model, step)"),
    ],
)
def test_other_contents_are_refused(content: object, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert words in _refusal(tmp_path / "w.pt")


def test_path_without_weights_is_refused(tmp_path: Path) -> None:
    assert "no weights at" in _refusal(tmp_path / "w.pt")
    assert "must hold one .safetensors file" in _refusal(tmp_path)


def test_folder_with_an_index_reads_as_one_file(tmp_path: Path) -> None:
    weights = _small_weights()
    names = list(weights)
    parts = {"a-00001.safetensors": names[: len(names) // 2], "a-00002.safetensors": names[len(names) // 2 :]}
    for file, keys in parts.items():
        save_file({key: weights[key] for key in keys}, tmp_path / file)
    places = {key: file for file, keys in parts.items() for key in keys}
    index = tmp_path / "a.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    read = read_tensors(tmp_path)
    assert read.keys() == weights.keys() and all(torch.equal(read[key], weights[key]) for key in weights)
    (tmp_path / "a-00002.safetensors").unlink()
    assert "lacks a-00002.safetensors" in _refusal(tmp_path)
    index.write_text(json.dumps({"weight_map": {"x": "../a-00001.safetensors"}}))
    assert "lacks ../a-00001.safetensors" in _refusal(tmp_path)


def test_venhancer_agrees_with_its_published_names() -> None:
    shapes = build_empty(lambda: StarUNet(StarUNetConfig())).state_dict()
    venhancer = _venhancer(shapes, StarUNetConfig())
    assert (len(shapes), len(liem_names(shapes)), len(VENHANCER_ONLY), len(venhancer)) == (2247, 73, 6, 2180)
    text = json.dumps(sorted((key, list(tensor.shape)) for key, tensor in venhancer.items()))
    assert hashlib.sha256(text.encode()).hexdigest() == VENHANCER_DIGEST
    check_fit(shapes, venhancer, "v", new=liem_names(shapes), dropped=VENHANCER_ONLY)
    with pytest.raises(WeightsError, match=r"73 missing .* 6 unexpected \(VideoControlNet.hint_time_zero_linear"):
        check_fit(shapes, venhancer, "v")


def test_training_starts_from_venhancer(tmp_path: Path) -> None:
    weights = _small_weights(torch.float16)
    torch.save({"state_dict": _venhancer(weights, SMALL)}, tmp_path / "v.pt")
    start = load_training_start(tmp_path / "v.pt", SMALL, seed=1)
    assert start.new == liem_names(weights) and start.dropped == VENHANCER_ONLY
    loaded = start.network.state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values())
    assert all(torch.equal(loaded[key], weights[key].float()) for key in weights if key not in start.new)
    again = load_training_start(tmp_path / "v.pt", SMALL, seed=1).network.state_dict()
    other = load_training_start(tmp_path / "v.pt", SMALL, seed=2).network.state_dict()
    fan_in = {7: 2 * 49, 2: 2}  # of the 7x7 convolution and of the linear layer
    for key in start.new:
        assert torch.equal(loaded[key], again[key]) and not torch.equal(loaded[key], other[key])
        assert 0 < loaded[key].abs().max() <= fan_in[loaded[key].shape[-1]] ** -0.5
    start.network.train()(torch.randn(1, 4, 1, 6, 4), torch.tensor([3]), torch.randn(1, 5, 24)).sum().backward()
    assert "of VEnhancer" in _refusal(tmp_path / "v.pt")


def test_training_start_must_be_venhancer(tmp_path: Path) -> None:
    torch.save(_small_weights(), tmp_path / "star.pt")
    with pytest.raises(WeightsError, match=r"6 missing .* unexpected"):
        load_training_start(tmp_path / "star.pt", SMALL)


def test_fit_empties_what_it_is_given() -> None:
    weights = _small_weights()
    fit(build_empty(lambda: StarUNet(SMALL)), weights, "w")
    assert not weights


TINY = StarUNetConfig(width=32, multipliers=(1,), num_res_blocks=1, head_dim=16, temporal_stages=(1,))
_MEASURE = f"""
import sys, torch
from pathlib import Path
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.weights import load_star_unet

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

torch.set_num_threads(1)
path, width, dtype = Path(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3])
load_star_unet(Path(sys.argv[4]), {TINY!r}, dtype=dtype)  # what loading needs once
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
network = load_star_unet(path, StarUNetConfig(width=width), dtype=dtype)
total = sum(float(parameter.detach().flatten()[::64].sum(dtype=torch.float32)) for parameter in network.parameters())
print((memory("VmHWM") - before) / path.stat().st_size, total, len(list(network.parameters())))
"""


def _measure(folder: Path, width: int, saved: torch.dtype, loaded: str) -> float:
    """Return the peak of memory that loading and using a checkpoint takes, as a share of the file."""

    def write(path: Path, config: StarUNetConfig) -> None:
        shapes = build_empty(lambda: StarUNet(config)).state_dict()
        torch.save({"state_dict": {k: torch.full(t.shape, 0.01, dtype=saved) for k, t in shapes.items()}}, path)

    write(folder / "big.pt", StarUNetConfig(width=width))
    write(folder / "small.pt", TINY)
    words = [str(folder / "big.pt"), str(width), loaded, str(folder / "small.pt")]
    done = subprocess.run([sys.executable, "-c", _MEASURE, *words], capture_output=True, text=True, check=True)
    share, total, count = map(float, done.stdout.split())
    assert count == 2247 and total > 0
    return share


@pytest.mark.timeout(900)  # large files, and the machine may be busy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("width", "saved"), [(128, torch.float16), (64, torch.float32)])
def test_loading_takes_no_second_copy(width: int, saved: torch.dtype, tmp_path: Path) -> None:
    share = _measure(tmp_path, width, saved, "float16")  # files of 655 and 329 MB
    assert 0.9 * 2 / saved.itemsize < share < 1.1 * 2 / saved.itemsize


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_the_full_size_takes_no_second_copy(tmp_path: Path) -> None:
    assert _measure(tmp_path, 320, torch.float16, "float16") < 1.1  # 2,041 M parameters, 4 GB


def test_the_same_weights_are_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """The library itself writes metadata in another order in each process."""
    metadata = {"step": "3", "recipe": "größe.toml", "model": "m", "format": "pt", "samples": "true", "ends": "a; b"}
    code = (
        "import sys, json, torch; from pathlib import Path; from starvsr.models.weights import save_weights;"
        "save_weights({'b': torch.ones(3), 'a': torch.zeros(2, 2)}, Path(sys.argv[1]), dtype=torch.float16,"
        " metadata=json.loads(sys.argv[2]))"
    )
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path in paths:
        subprocess.run([sys.executable, "-c", code, str(path), json.dumps(metadata)], check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    assert read_metadata(paths[0]) == metadata
    assert torch.equal(read_tensors(paths[0])["b"], torch.ones(3, dtype=torch.float16))
