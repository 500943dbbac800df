"""The published layout: every name accounted for, LoRA merged, and damaged checkpoints refused with a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.cogvideox.config import TransformerConfig
from starvsr.models.cogvideox.folder import load_transformer
from starvsr.models.cogvideox.sat import config_of, read_sat, states_file, to_diffusers
from tests.models.cogvideox.release import SIZES, engine, sat_weights, states, write_states

BLOCK = "transformer.layers.1"


def loaded(folder: Path, tensors: dict[str, Tensor], **how: object) -> dict[str, Tensor]:
    write_states(folder, tensors)
    return load_transformer({"transformer": folder}, **how).state_dict()  # type: ignore[arg-type]


def test_the_published_form_is_read_whole(tmp_path: Path) -> None:
    given = sat_weights()
    path = write_states(tmp_path / "a", engine(given), **states())
    network = load_transformer({"transformer": tmp_path / "a"})
    assert network.config == TransformerConfig(
        num_attention_heads=2, attention_head_dim=16, num_layers=2, time_embed_dim=12, text_embed_dim=24
    )
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    found = network.state_dict()
    adaln = given["mixins.adaln_layer.adaLN_modulations.1.1.weight"].chunk(12)
    assert torch.equal(
        found["transformer_blocks.1.norm1.linear.weight"], torch.cat([adaln[n] for n in (0, 1, 2, 6, 7, 8)])
    )
    assert torch.equal(
        found["transformer_blocks.1.norm2.linear.weight"], torch.cat([adaln[n] for n in (3, 4, 5, 9, 10, 11)])
    )
    assert torch.equal(found["proj_out.weight"], given["mixins.final_layer.linear.weight"])
    for other in (tmp_path / "a", path):
        again = load_transformer({"transformer": other}).state_dict()
        assert all(torch.equal(again[name], tensor) for name, tensor in found.items())


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_lora_is_merged_with_one_over_its_rank(tmp_path: Path, rank: int) -> None:
    given = sat_weights(lora_r=rank)
    found = loaded(tmp_path / "a", given)
    for linear, places in (("query_key_value", ("to_q", "to_k", "to_v")), ("dense", ("to_out.0",))):
        layer = f"{BLOCK}.attention.{linear}"
        weights = given[f"{layer}.original.weight"].double().chunk(len(places))
        biases = given[f"{layer}.original.bias"].chunk(len(places))
        for number, place in enumerate(places):
            change = given[f"{layer}.matrix_B.{number}"].double() @ given[f"{layer}.matrix_A.{number}"].double()
            merged = found[f"transformer_blocks.1.attn1.{place}.weight"]
            torch.testing.assert_close(merged.double(), weights[number] + change / rank, atol=1e-6, rtol=0)
            assert torch.equal(found[f"transformer_blocks.1.attn1.{place}.bias"], biases[number])


def test_merging_rounds_once(tmp_path: Path) -> None:
    given = {name: tensor.bfloat16() for name, tensor in sat_weights().items()}
    exact = loaded(tmp_path / "a", given, dtype=torch.float32)
    rounded = loaded(tmp_path / "b", given)
    name = "transformer_blocks.0.attn1.to_k.weight"
    assert rounded[name].dtype == torch.bfloat16
    assert torch.equal(rounded[name], exact[name].bfloat16())
    assert not torch.equal(rounded[name].float(), exact[name])


def test_a_merged_checkpoint_is_the_same_network(tmp_path: Path) -> None:
    given = sat_weights()
    merged: dict[str, Tensor] = {name: tensor for name, tensor in given.items() if ".attention." not in name}
    for n in range(2):
        for linear, parts in (("query_key_value", 3), ("dense", 1)):
            layer = f"transformer.layers.{n}.attention.{linear}"
            change = torch.cat(
                [given[f"{layer}.matrix_B.{k}"] @ given[f"{layer}.matrix_A.{k}"] / 4 for k in range(parts)]
            )
            merged[f"{layer}.weight"] = given[f"{layer}.original.weight"] + change
            merged[f"{layer}.bias"] = given[f"{layer}.original.bias"]
    one, other = loaded(tmp_path / "a", given), loaded(tmp_path / "b", merged)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-6, rtol=0)


def test_a_checkpoint_without_the_engine_around_it(tmp_path: Path) -> None:
    one, other = loaded(tmp_path / "a", sat_weights()), loaded(tmp_path / "b", engine(sat_weights()))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_positions_tell_the_size_of_cogvideox(tmp_path: Path) -> None:
    given = sat_weights(lora_r=0)
    assert config_of(given, "x").use_rotary_positional_embeddings
    write_states(tmp_path, {**given, "mixins.pos_embed.pos_embedding": torch.zeros(1, 9, 32)})
    assert not load_transformer({"transformer": tmp_path}).config.use_rotary_positional_embeddings
    with pytest.raises(WeightsError, match="sin-cos positions, as the 2B has"):
        load_transformer({"transformer": tmp_path}, config=TransformerConfig.published_5b())


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (f"{BLOCK}.attention.query_key_value.matrix_B.1", r"lacks .*query_key_value\.matrix_B\.1 of LoRA"),
        (f"{BLOCK}.attention.dense.original.weight", r"lacks .*dense\.original\.weight of LoRA"),
        (f"{BLOCK}.attention.dense.original.bias", r"missing \(transformer_blocks\.1\.attn1\.to_out\.0\.bias\)"),
        (f"{BLOCK}.spa_local.conv1.weight", r"missing \(transformer_blocks\.1\.spa_local\.conv1\.weight\)"),
        (f"{BLOCK}.temp_local.conv1.weight", r"missing \(transformer_blocks\.1\.temp_local\.conv1\.weight\)"),
        ("transformer.final_layernorm.bias", r"missing \(norm_final\.bias\)"),
        ("mixins.patch_embed.proj_sr.weight", r"proj_sr\.weight is missing"),
        ("mixins.adaln_layer.adaLN_modulations.1.1.bias", r"2 missing \(transformer_blocks\.1\.norm1\.linear\.bias, "),
    ],
)
def test_a_missing_tensor_is_named(tmp_path: Path, lost: str, words: str) -> None:
    given = sat_weights()
    del given[lost]
    with pytest.raises(WeightsError, match=words):
        loaded(tmp_path / "a", given)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("mixins.patch_embed.proj.weight", (32, 16, 2, 2), r"unexpected \(mixins\.patch_embed\.proj\.weight\)"),
        (f"{BLOCK}.attention.dense.matrix_A.1", (4, 32), r"unexpected .*dense\.matrix_A\.1"),
        (f"{BLOCK}.attention.dense.matrix_A.0", (5, 32), r"do not fit .*attention\.dense"),
        (f"{BLOCK}.attention.dense.matrix_B.0", (16, 4), r"do not fit .*attention\.dense"),
        (f"{BLOCK}.mlp.dense_h_to_4h.weight", (64, 32), r"of another shape \(transformer_blocks\.1\.ff\.net\.0\.proj"),
        (f"{BLOCK}.attention.query_key_value.weight", (96, 32), "has LoRA matrices for 4 layers and none for"),
        ("optimizer.step", (1,), r"unexpected \(optimizer\.step\)"),
    ],
)
def test_a_strange_tensor_is_named(tmp_path: Path, name: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        loaded(tmp_path / "a", {**sat_weights(), name: torch.zeros(shape)})


def test_lost_blocks_are_told(tmp_path: Path) -> None:
    given = sat_weights(num_layers=3)
    some = {name: tensor for name, tensor in given.items() if not name.startswith("transformer.layers.1.")}
    with pytest.raises(WeightsError, match="has no block 1"):
        loaded(tmp_path / "a", some)
    write_states(tmp_path / "b", given)
    wanted = TransformerConfig(num_attention_heads=2, attention_head_dim=16, num_layers=4)
    with pytest.raises(WeightsError, match="has 3 blocks, and this model has 4"):
        load_transformer({"transformer": tmp_path / "b"}, config=wanted)


def test_the_folder_is_followed_and_its_faults_are_named(tmp_path: Path) -> None:
    assert states_file(tmp_path) is None
    file = write_states(tmp_path / "a", sat_weights(), tag="15000")
    assert states_file(tmp_path / "a") == file == states_file(file)
    for content, words in (
        ("../a", "must name a folder beside it"),
        ("", "must name a folder beside it"),
        ("2", "lacks 2/mp_rank_00_model_states.pt"),
        (b"\xff\xfe", "cannot read"),
    ):
        (tmp_path / "a" / "latest").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(WeightsError, match=words):
            states_file(tmp_path / "a")
    (tmp_path / "a" / "latest").write_text("15000")
    file.with_name("mp_rank_01_model_states.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"split over processes \(mp_rank_01"):
        states_file(tmp_path / "a")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    write_states(tmp_path / "a", {"first_stage_model.encoder.conv_in.conv.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match="holds no transformer"):
        read_sat(tmp_path / "a")
    with pytest.raises(WeightsError, match="no checkpoint of SAT"):
        read_sat(tmp_path / "b")


def test_names_are_those_of_the_published_key_map() -> None:
    """Written from the published list, one layer of each kind."""
    names = to_diffusers(sat_weights(lora_r=0, num_layers=1), "x", dtype=None)
    layers = {name.rpartition(".")[0] for name in names}
    inside = [
        "attn1.norm_k",
        "attn1.norm_q",
        "attn1.to_k",
        "attn1.to_out.0",
        "attn1.to_q",
        "attn1.to_v",
        "ff.net.0.proj",
        "ff.net.2",
        "norm1.linear",
        "norm1.norm",
        "norm2.linear",
        "norm2.norm",
        "spa_local.conv1",
        "temp_local.conv1",
    ]
    outside = [
        "norm_final",
        "norm_out.linear",
        "norm_out.norm",
        "patch_embed.proj",
        "patch_embed.text_proj",
        "proj_out",
        "time_embedding.linear_1",
        "time_embedding.linear_2",
    ]
    assert layers == {*outside, *(f"transformer_blocks.0.{name}" for name in inside)}
    assert SIZES["num_layers"] == 2
