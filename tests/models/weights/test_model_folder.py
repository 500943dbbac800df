"""Model folders: written whole, opened exactly, split when large, and every file explained."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from starvsr.errors import OutputExistsError, OutputNotWritableError, WeightsError
from starvsr.families.star_i2vgen.model_folder import load_network
from starvsr.families.star_i2vgen.spec import STAR_HEAVY, STAR_LIGHT
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig, tower_weights
from starvsr.models.weights import ModelFiles, build_empty, components, digest, find_model, fit, read_tensors
from starvsr.models.weights.cache import Places
from starvsr.models.weights.components import HubFile, get_component
from starvsr.models.weights.model_folder import plan_shards, write_folder

SMALL = StarUNetConfig(
    width=32, multipliers=(1,), num_res_blocks=1, head_dim=16, first_heads=2, attn_scales=(1.0,), context_dim=24,
    temporal_stages=(2,), dropout=0.0,
)  # fmt: skip
TOWER = TextTowerConfig(width=16, heads=2, blocks=1, context_length=4, vocabulary=10)


def convert(
    files: ModelFiles,
    out: Path,
    *,
    config: StarUNetConfig,
    name: str | None = None,
    published: tuple[str, ...] = (),
    **how: Any,
) -> dict[str, str]:
    """Convert; the parts of some roles as if they were the published ones."""
    entry = dataclasses.replace(STAR_HEAVY if name == "star-heavy" else STAR_LIGHT, unet=config)
    parts = [
        dataclasses.replace(part, component=get_component(entry.parts[part.role][0]).name, is_own=False)
        if part.role in published
        else part
        for part in entry.folder_parts(files)
    ]
    return write_folder(parts, out, pipeline=entry.folder_class, name=name, **how)


def from_pretrained(folder: Path, dtype: torch.dtype | None = None) -> StarUNet:
    return load_network(folder / "unet", StarUNetConfig(), dtype)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return StarUNet(SMALL).state_dict()


@pytest.fixture
def files(weights: dict[str, torch.Tensor], tmp_path: Path) -> ModelFiles:
    """The parts of a model as they are fetched, small."""
    torch.save({"state_dict": weights}, tmp_path / "light_deg.pt")
    save_file({"encoder.conv_in.weight": torch.ones(3)}, tmp_path / "vae.safetensors")
    save_file({"text_model.final_layer_norm.bias": torch.ones(2)}, tmp_path / "text.safetensors")
    for name in ("vae.json", "text.json", "merges.txt"):
        (tmp_path / name).write_text(f'"{name}"')
    return {
        "unet": tmp_path / "light_deg.pt",
        "vae": tmp_path / "vae.safetensors",
        "vae/config.json": tmp_path / "vae.json",
        "text": tmp_path / "text.safetensors",
        "text/config.json": tmp_path / "text.json",
        "text/merges.txt": tmp_path / "merges.txt",
    }


def _same(network: StarUNet, weights: dict[str, torch.Tensor]) -> bool:
    loaded = network.state_dict()
    return loaded.keys() == weights.keys() and all(torch.equal(loaded[key], weights[key]) for key in weights)


@pytest.mark.parametrize("shard_bytes", [10**9, 200_000])
def test_what_is_converted_opens_exactly(
    shard_bytes: int, weights: dict[str, torch.Tensor], files: ModelFiles, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    convert(files, out, name="star-light", config=SMALL, shard_bytes=shard_bytes)
    network = from_pretrained(out)
    assert network.config == SMALL
    assert _same(network, weights)
    shards = sorted((out / "unet").glob("*.safetensors"))
    if shard_bytes > 10**6:
        assert [path.name for path in shards] == ["diffusion_pytorch_model.safetensors"]
    else:
        assert shards[0].name == f"diffusion_pytorch_model-00001-of-{len(shards):05d}.safetensors" and len(shards) > 2
        index = json.loads((out / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in weights.values())
        assert index["weight_map"].keys() == weights.keys()
    with safe_open(shards[0], framework="pt") as file:
        assert file.metadata() == {"format": "pt", "origin": "own"}


def test_folder_says_what_each_file_is(files: ModelFiles, tmp_path: Path) -> None:
    out = tmp_path / "model"
    told = convert(files, out, name="star-light", config=SMALL)
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert json.loads((out / "model_index.json").read_text())["_files"] == {**told, "model_index.json": "this list"}
    assert told.keys() == there
    assert digest(files["unet"]) in told["unet/diffusion_pytorch_model.safetensors"]
    index = json.loads((out / "model_index.json").read_text())
    assert index["unet"] == ["starvsr", "StarUNet"]
    assert index["vae"] == ["diffusers", "AutoencoderKLTemporalDecoder"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert (out / "vae" / "config.json").read_text() == '"vae.json"'
    assert (out / "tokenizer" / "merges.txt").read_text() == '"merges.txt"'


def test_parts_of_two_releases_are_refused_with_both_names(files: ModelFiles, tmp_path: Path) -> None:
    light, heavy = tmp_path / "own" / "star-light", tmp_path / "own" / "star-heavy"
    for name, out in (("star-light", light), ("star-heavy", heavy)):
        convert(files, out, name=name, config=SMALL, published=("unet", "vae"), shard_bytes=200_000)
    places = Places(folder=tmp_path / "own", cache=tmp_path / "none")
    assert find_model(STAR_HEAVY, places=places)["unet"] == heavy / "unet"
    with pytest.raises(
        WeightsError, match=r"is a model folder of star-heavy, and the model is star-light: give --model"
    ):
        find_model(STAR_LIGHT, heavy, places)
    shutil.copytree(light / "vae", heavy / "vae", dirs_exist_ok=True)  # the same component in both
    find_model(STAR_HEAVY, places=places)
    kept = tmp_path / "kept"
    shutil.copytree(heavy, kept)
    shutil.rmtree(heavy / "unet")
    shutil.copytree(light / "unet", heavy / "unet")
    with pytest.raises(WeightsError, match=r"unet is star-light-unet, and star-heavy is made of star-heavy-unet"):
        find_model(STAR_HEAVY, places=places)
    one, *_ = sorted((light / "unet").glob("*-00001-of-*"))
    shutil.copy(one, kept / "unet")
    with pytest.raises(WeightsError, match=r"mixes parts of two releases \(.*-heavy-unet and .* of star-light"):
        find_model(STAR_HEAVY, kept, places)


def test_a_published_file_is_known_by_its_digest(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = HubFile("I2VGen-XL-based/heavy_deg.pt", sha256=digest(files["unet"]))
    heavy = dataclasses.replace(get_component("star-heavy-unet"), files=(known,))
    monkeypatch.setattr(components, "COMPONENTS", {**components.COMPONENTS, "star-heavy-unet": heavy})
    refused = r"is star-heavy-unet, and star-light is made of star-light-unet"
    with pytest.raises(WeightsError, match=refused):
        STAR_LIGHT.load(files=files)
    with pytest.raises(WeightsError, match=refused):
        find_model(STAR_LIGHT, files["unet"], Places(cache=tmp_path))  # its digest is noted now
    convert(files, tmp_path / "model", config=SMALL)
    with pytest.raises(WeightsError, match=refused):
        find_model(STAR_LIGHT, tmp_path / "model", Places(cache=tmp_path))


def test_weights_of_ones_own_are_not_said_to_be_published(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VAE has the published digest, the network and the text tower have not, whatever they are called."""
    vae = get_component("svd-vae")
    tensors = dataclasses.replace(vae.files[1], size=None, sha256=digest(files["vae"]))
    known = dataclasses.replace(vae, files=(vae.files[0], tensors))
    monkeypatch.setattr(components, "COMPONENTS", {**components.COMPONENTS, "svd-vae": known})
    told = convert(files, tmp_path / "model", name="star-light", config=SMALL)
    assert told["vae/diffusion_pytorch_model.safetensors"].endswith(": svd-vae")
    assert _metadata(tmp_path / "model" / "vae") == {"format": "pt", "component": "svd-vae"}
    for folder, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        assert told[f"{folder}/{stem}.safetensors"].endswith("): your own weights, not known as published ones")
        assert _metadata(tmp_path / "model" / folder) == {"format": "pt", "origin": "own"}
    again = convert(find_model(STAR_LIGHT, tmp_path / "model"), tmp_path / "again", config=SMALL, dtype=torch.float16)
    assert again["vae/diffusion_pytorch_model.safetensors"].endswith(": svd-vae")  # converted from it, so still known
    assert again["unet/diffusion_pytorch_model.safetensors"].endswith(": your own weights, not known as published ones")


def _metadata(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_number_type_is_changed_on_request(weights: dict[str, torch.Tensor], files: ModelFiles, tmp_path: Path) -> None:
    convert(files, tmp_path / "model", config=SMALL, dtype=torch.float16)
    assert _same(from_pretrained(tmp_path / "model"), {key: tensor.half() for key, tensor in weights.items()})
    assert _same(
        from_pretrained(tmp_path / "model", dtype=torch.float32),
        {key: tensor.half().float() for key, tensor in weights.items()},
    )
    assert read_tensors(tmp_path / "model" / "vae")["encoder.conv_in.weight"].dtype == torch.float16


def test_converted_folder_serves_as_the_model(files: ModelFiles, tmp_path: Path) -> None:
    out = tmp_path / "own" / "star-light"
    out.parent.mkdir()
    convert(files, out, name="star-light", config=SMALL)
    for found in (
        find_model(STAR_LIGHT, out),
        find_model(STAR_LIGHT, places=Places(folder=tmp_path / "own", cache=tmp_path / "none")),
    ):
        assert found["unet"] == out / "unet" and found["text/merges.txt"] == out / "tokenizer" / "merges.txt"
        assert "text/config.json" in found and found["vae/config.json"] == out / "vae" / "config.json"
        assert read_tensors(found["text"]).keys() == {"text_model.final_layer_norm.bias"}


def test_text_tower_of_openclip_is_kept_in_its_own_layout(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starvsr.families.star_i2vgen.model_folder.TextTowerConfig", lambda: TOWER)
    tower = TextTower(TOWER).state_dict()
    monkeypatch.setattr(
        "starvsr.families.star_i2vgen.model_folder.tower_weights", lambda tensors: tower_weights(tensors, TOWER)
    )
    rest = {"visual.proj": torch.ones(2), "text_projection": torch.ones(2), "logit_scale": torch.ones(())}
    torch.save({**tower, **rest}, tmp_path / "open_clip_pytorch_model.bin")
    others = {key: files[key] for key in ("unet", "text/merges.txt")}
    convert({**others, "text": tmp_path / "open_clip_pytorch_model.bin"}, tmp_path / "model", config=SMALL)
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["text_encoder"] == ["starvsr", "TextTower"] and "vae" not in index
    read = tower_weights(read_tensors(tmp_path / "model" / "text_encoder"), TOWER)
    again = build_empty(lambda: TextTower(TOWER))
    fit(again, read, "text")
    assert all(torch.equal(tensor, tower[key]) for key, tensor in again.state_dict().items())
    places = Places(folder=tmp_path / "none", cache=tmp_path / "none")
    with pytest.raises(WeightsError, match="svd-vae is not on this machine"):
        find_model(STAR_LIGHT, tmp_path / "model", places)


def test_folder_that_is_there_is_kept(files: ModelFiles, tmp_path: Path) -> None:
    out = tmp_path / "model"
    convert(files, out, config=SMALL)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        convert(files, out, config=SMALL)
    convert(files, out, config=SMALL, overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(OutputExistsError, match="no model folder"):
        convert(files, tmp_path / "photos", config=SMALL, overwrite=True)
    assert (tmp_path / "photos" / "cat.png").exists()


def test_nothing_is_left_half_written(files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(WeightsError, match="does not fit this model"):
        convert(files, tmp_path / "model", config=StarUNetConfig())

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("starvsr.models.weights.model_folder.save_tensors", full)
    with pytest.raises(OutputNotWritableError, match="No space left"):
        convert(files, tmp_path / "model", config=SMALL)
    after = [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".sha256"]
    assert after == before


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "does not fit this model"),
        ("{", "cannot read"),
        ('{"_class_name": "UNet2DConditionModel"}', "describes a UNet2DConditionModel"),
        ('{"_class_name": "StarUNet", "heads_of_hydra": 9}', "heads_of_hydra"),
    ],
)
def test_other_folders_are_refused(config: str | None, words: str, files: ModelFiles, tmp_path: Path) -> None:
    out = tmp_path / "model"
    convert(files, out, config=SMALL)
    if config is None:
        (out / "unet" / "config.json").unlink()
    else:
        (out / "unet" / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=words):
        from_pretrained(out)


def test_shards_hold_every_tensor_once_and_stay_below_the_limit() -> None:
    shapes = build_empty(lambda: StarUNet(StarUNetConfig())).state_dict()
    shards = plan_shards(shapes, None, 5_000_000_000)  # 8.16 GB in float32
    assert [key for keys in shards for key in keys] == list(shapes)
    assert [sum(shapes[key].nbytes for key in keys) <= 5_000_000_000 for keys in shards] == [True, True]
    assert len(plan_shards(shapes, torch.float16, 5_000_000_000)) == 1
    large = {"a": torch.empty(10, device="meta"), "b": torch.empty(1, device="meta")}
    assert plan_shards(large, None, 8) == [["a"], ["b"]]


def test_model_without_weights_tells_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STARVSR_MODELS", raising=False)
    with pytest.raises(WeightsError) as caught:
        find_model(STAR_LIGHT, places=Places(cache=tmp_path))
    line = str(caught.value)
    assert "star-light-unet, svd-vae, sd2-text are not on this machine" in line and str(tmp_path) in line
    assert "`starvsr models fetch star-light` (9.7 GB)" in line and "\n" not in line
    with pytest.raises(WeightsError, match=r"no weights at nowhere\.pt"):
        find_model(STAR_LIGHT, Path("nowhere.pt"), Places(cache=tmp_path))
