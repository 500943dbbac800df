"""Whole models from disk: in the layout of SAT, as a model folder, and what is wrong with either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import T5EncoderModel

from starvsr.apps.cli import main
from starvsr.errors import OptionError, WeightsError
from starvsr.families.recognize import check_weights, entry_with_folder, model_for
from starvsr.families.registry import get_entry
from starvsr.families.star_cogvideox.spec import STAR_COGVIDEOX_2B, STAR_COGVIDEOX_5B
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.folder import (
    Components,
    files_of,
    load_components,
    load_text_encoder,
    load_transformer,
    load_vae,
)
from starvsr.models.cogvideox.text import encode_prompt, unconditional
from starvsr.models.weights import find_model
from starvsr.models.weights.cache import Places
from starvsr.models.weights.model_folder import write_folder
from tests.models.cogvideox.release import sat_weights, write_states


@pytest.fixture(scope="module")
def converted(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release as the command writes it."""
    out = tmp_path_factory.mktemp("converted") / "model"
    assert main(["models", "convert", str(release), "-o", str(out)]) == 0
    return out


@pytest.fixture
def folder(converted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(converted, tmp_path / "model")


@pytest.fixture(scope="module")
def components(release: Path) -> Components:
    return load_components(release)


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_is_converted_is_the_same_model(components: Components, converted: Path) -> None:
    again = load_components(converted)
    for name in ("transformer", "vae", "text_encoder"):
        one, other = getattr(components, name), getattr(again, name)
        assert one.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())
        assert not one.training and not other.training
    assert again.config == components.config == again.transformer.config
    assert again.vae.config.scaling_factor == components.vae.config.scaling_factor == 0.7
    assert again.vae.config.block_out_channels == [32] * 4 and again.vae.config.layers_per_block == 1
    assert again.tokenizer("a cat at night").input_ids == components.tokenizer("a cat at night").input_ids


def test_diffusers_and_transformers_open_the_folder(converted: Path) -> None:
    read = load_file(converted / "transformer" / "diffusion_pytorch_model.safetensors")
    network = CogVideoXTransformer3DModel.from_config(
        CogVideoXTransformer3DModel.load_config(converted / "transformer")
    )
    assert set(read) - set(network.state_dict()) == {
        f"transformer_blocks.{n}.{gate}.conv1.weight" for n in range(2) for gate in ("spa_local", "temp_local")
    }
    vae = AutoencoderKLCogVideoX.from_pretrained(converted / "vae")
    assert vae.config.latent_channels == 16
    assert T5EncoderModel.from_pretrained(converted / "text_encoder").config.d_model == 24
    index = json.loads((converted / "model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "T5EncoderModel"]
    assert index["transformer"] == ["diffusers", "CogVideoXTransformer3DModel"]


def test_number_types(converted: Path) -> None:
    for dtype, text in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.bfloat16)):
        model = load_components(converted, dtype=dtype)
        assert {p.dtype for p in model.transformer.parameters()} == {p.dtype for p in model.vae.parameters()} == {dtype}
        assert {p.dtype for p in model.text_encoder.parameters()} == {text}


def test_a_split_folder_is_read(release: Path, components: Components, tmp_path: Path) -> None:
    parts = STAR_COGVIDEOX_5B.folder_parts(files_of(release))
    write_folder(parts, tmp_path / "model", pipeline="x", shard_bytes=30_000)
    assert len(list((tmp_path / "model" / "transformer").glob("*.safetensors"))) > 3
    again = load_components(tmp_path / "model")
    for key, tensor in components.transformer.state_dict().items():
        assert torch.equal(again.transformer.state_dict()[key], tensor)
    assert encode_prompt(again.tokenizer, again.text_encoder, "the sea").shape == (1, 226, 24)


def test_prompts_are_read_as_t5_reads_them(components: Components) -> None:
    text = encode_prompt(components.tokenizer, components.text_encoder, "a cat walks")
    ids = components.tokenizer("a cat walks").input_ids
    padded = torch.tensor([ids + [0] * (226 - len(ids))])
    expected = components.text_encoder(padded, attention_mask=torch.ones_like(padded)).last_hidden_state
    torch.testing.assert_close(text, expected)
    assert ids[-1] == 1 and text.shape == (1, 226, 24)
    none = encode_prompt(components.tokenizer, components.text_encoder, "")
    assert none.abs().max() > 0 and not unconditional(none).any()
    with pytest.raises(OptionError, match=r"has \d+ tokens, but the text encoder reads 226: shorten it"):
        encode_prompt(components.tokenizer, components.text_encoder, "cat " * 300)


def test_the_tokenizer_gives_the_ids_of_sentencepiece(components: Components, release: Path) -> None:
    import sentencepiece

    plain = sentencepiece.SentencePieceProcessor(model_file=str(release / "t5-v1_1-xxl" / "spiece.model"))
    for text in ("a cat walks", "  Two  spaces ", "line\nbreak", "naïve café", ""):
        assert components.tokenizer(text).input_ids == [*plain.encode(text), 1]


def test_a_whole_t5_is_an_encoder(release: Path, tmp_path: Path) -> None:
    files = files_of(release)
    tensors = load_file(files["text"] / "model.safetensors")
    extra = {"lm_head.weight": torch.zeros(2), "decoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(2)}
    save_file({**tensors, **extra}, tmp_path / "t5.safetensors")
    encoder = load_text_encoder({**files, "text": tmp_path / "t5.safetensors"})
    assert encoder.encoder.embed_tokens.weight is encoder.shared.weight
    assert torch.equal(encoder.shared.weight, tensors["shared.weight"])


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("transformer/diffusion_pytorch_model.safetensors", "transformer_blocks.1.spa_local.conv1.weight"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.conv.bias"),
        ("text_encoder/model.safetensors", "shared.weight"),
        ("text_encoder/model.safetensors", "encoder.final_layer_norm.weight"),
    ],
)
def test_a_missing_tensor_of_a_folder_is_named(folder: Path, part: str, name: str) -> None:
    tensors = load_file(folder / part)
    del tensors[name]
    save_file(tensors, folder / part)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        load_components(folder)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("transformer", "holds no STAR on CogVideoX"),
        ("vae", "the model has no vae"),
        ("text_encoder", "the model has no text"),
        ("tokenizer", "the model has no tokenizer/spiece.model"),
    ],
)
def test_a_missing_part_is_named(folder: Path, lost: str, words: str) -> None:
    shutil.rmtree(folder / lost)
    with pytest.raises(WeightsError, match=words):
        load_components(folder)


def test_damaged_configurations_are_told(folder: Path) -> None:
    for place, words in (
        ("transformer/config.json", "cannot read"),
        ("vae/config.json", "cannot read"),
        ("text_encoder/config.json", "cannot read"),
        ("tokenizer/spiece.model", "cannot read the tokenizer"),
    ):
        before = (folder / place).read_bytes()
        (folder / place).write_bytes(b"{")
        with pytest.raises(WeightsError, match=words):
            load_components(folder)
        (folder / place).write_bytes(before)
    change_json(folder / "vae" / "config.json", _class_name="AutoencoderKL")
    with pytest.raises(WeightsError, match="describes a AutoencoderKL, not the VAE of CogVideoX"):
        load_vae(files_of(folder))
    change_json(folder / "vae" / "config.json", _class_name="AutoencoderKLCogVideoX", block_out_channels=[7])
    with pytest.raises(WeightsError, match=r"vae/config.json describes no VAE"):
        load_vae(files_of(folder))


def test_the_scaling_factor_of_a_bare_vae_follows_the_transformer(release: Path, tmp_path: Path) -> None:
    write_states(tmp_path, {**sat_weights(), "mixins.pos_embed.pos_embedding": torch.zeros(1, 9, 32)})
    files = {**files_of(release), "transformer": tmp_path}
    assert load_vae(files).config.scaling_factor == 1.15258426
    assert load_vae(files, scaling_factor=0.5).config.scaling_factor == 0.5


def test_a_release_is_recognized(release: Path, tmp_path: Path) -> None:
    states = release / "transformer" / "1" / "mp_rank_00_model_states.pt"
    for path in (release, release / "transformer", states):
        assert model_for(path) == entry_with_folder(path).name == "star-cogvideox-5b"
        check_weights(STAR_COGVIDEOX_5B, path)
        for other in ("star-light", "star-cogvideox-2b", "stablevsr"):
            with pytest.raises(WeightsError, match=f"holds weights of star-cogvideox-5b, and the model is {other}"):
                check_weights(get_entry(other), path)
    write_states(tmp_path, {**sat_weights(), "mixins.pos_embed.pos_embedding": torch.zeros(1, 9, 32)})
    assert model_for(tmp_path) == "star-cogvideox-2b"


def test_a_bare_file_of_the_transformer_is_one_of_two_models(converted: Path) -> None:
    path = converted / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(OptionError, match="it may be star-cogvideox-5b or star-cogvideox-2b"):
        model_for(path)
    check_weights(STAR_COGVIDEOX_2B, path)
    sizes = TransformerConfig(
        num_attention_heads=2, attention_head_dim=16, num_layers=2, time_embed_dim=12, text_embed_dim=24
    )
    assert load_transformer({"transformer": path}, config=sizes).config == sizes


def test_parts_are_found_where_the_user_keeps_them(release: Path, tmp_path: Path) -> None:
    nowhere = Places(cache=tmp_path / "none")
    files = find_model(STAR_COGVIDEOX_5B, release, nowhere)
    assert files["transformer"] == release / "transformer"
    assert files["vae"] == release / "vae" / "3d-vae.pt"
    assert files["tokenizer/spiece.model"].parent == files["text"] == release / "t5-v1_1-xxl"
    shutil.copytree(release, tmp_path / "own" / "star-cogvideox-5b")
    assert find_model(STAR_COGVIDEOX_5B, places=Places(tmp_path / "own", tmp_path / "none")).keys() == files.keys()
    with pytest.raises(
        WeightsError, match="cogvideox-5b-vae, cogvideox-5b-text, cogvideox-5b-tokenizer are not on this"
    ):
        find_model(STAR_COGVIDEOX_5B, release / "transformer", nowhere)
    with pytest.raises(WeightsError, match="star-cogvideox-5b-transformer, cogvideox-5b-vae, "):
        find_model(STAR_COGVIDEOX_5B, places=nowhere)


def test_fetched_shards_are_read_with_their_index(release: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    folder = own / "zai-org" / "CogVideoX-2b"
    write_folder(STAR_COGVIDEOX_5B.folder_parts(files_of(release)), folder, pipeline="x")
    text = load_file(folder / "text_encoder" / "model.safetensors")
    (folder / "text_encoder" / "model.safetensors").unlink()
    names = sorted(text)
    places = {}
    for number, some in enumerate((names[:5], names[5:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: text[name] for name in some}, folder / "text_encoder" / file)
        places |= dict.fromkeys(some, file)
    index = folder / "text_encoder" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (folder / "tokenizer" / name).write_text("{}")
    files = find_model(STAR_COGVIDEOX_2B, folder / "transformer" / "diffusion_pytorch_model.safetensors", Places(own))
    assert files["text"] == folder / "text_encoder"
    assert torch.equal(load_text_encoder(files).shared.weight, text["shared.weight"])
    with pytest.raises(WeightsError, match="star-cogvideox-2b has no published weights"):
        find_model(STAR_COGVIDEOX_2B, places=Places(own, tmp_path / "none"))
