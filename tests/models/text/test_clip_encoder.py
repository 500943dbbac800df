"""The text tower: both published layouts, causality, what is left over. The numbers themselves: tests/parity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.text.clip_encoder import TextTower, TextTowerConfig, tower_weights
from starvsr.models.weights import check_fit

SMALL = TextTowerConfig(width=16, heads=2, blocks=2, context_length=6, vocabulary=50)


@pytest.fixture
def tower() -> TextTower:
    torch.manual_seed(0)
    tower = TextTower(SMALL).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return tower


def _as_transformers(tower: TextTower, *, blocks: int = 2) -> dict[str, Tensor]:
    own = tower.state_dict()
    out = {
        "text_model.embeddings.token_embedding.weight": own["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": own["positional_embedding"],
        "text_model.embeddings.position_ids": torch.arange(6)[None],
        "text_model.final_layer_norm.weight": own["ln_final.weight"],
        "text_model.final_layer_norm.bias": own["ln_final.bias"],
    }
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
             "attn.out_proj": "self_attn.out_proj"}  # fmt: skip
    for block in range(blocks):
        here, there = f"transformer.resblocks.{min(block, 1)}.", f"text_model.encoder.layers.{block}."
        for kind in ("weight", "bias"):
            for ours, theirs in names.items():
                out[f"{there}{theirs}.{kind}"] = own[f"{here}{ours}.{kind}"]
            for letter, third in zip("qkv", own[f"{here}attn.in_proj_{kind}"].chunk(3), strict=True):
                out[f"{there}self_attn.{letter}_proj.{kind}"] = third
    return out


def _as_open_clip(tower: TextTower) -> dict[str, Tensor]:
    extra = {
        "visual.conv1.weight": torch.ones(3),
        "text_projection": torch.ones(16, 16),
        "logit_scale": torch.tensor(1.0),
        "attn_mask": torch.ones(6, 6),
        "transformer.resblocks.2.ln_1.weight": torch.ones(16),
    }
    return dict(tower.state_dict()) | extra


def test_both_layouts_give_the_same_tower(tower: TextTower) -> None:
    ids = torch.tensor([[49, 3, 7, 48, 0, 0]])
    for tensors in (_as_transformers(tower), _as_transformers(tower, blocks=3), _as_open_clip(tower)):
        mapped = tower_weights(tensors, SMALL)
        check_fit(tower.state_dict(), mapped, "here")
        other = TextTower(SMALL).eval()
        other.load_state_dict(mapped)
        assert torch.equal(other(ids), tower(ids))


@pytest.mark.parametrize("lost", ["layers.1.mlp.fc2.bias", "layers.0.self_attn.q_proj.weight",
                                  "layers.1.self_attn.v_proj.bias", "position_embedding.weight"])  # fmt: skip
def test_a_missing_tensor_is_noticed(tower: TextTower, lost: str) -> None:
    tensors = {name: tensor for name, tensor in _as_transformers(tower).items() if not name.endswith(lost)}
    with pytest.raises(WeightsError, match="missing"):
        check_fit(tower.state_dict(), tower_weights(tensors, SMALL), "here")


@pytest.mark.parametrize("name", ["text_model.encoder.layers.0.self_attn.extra.weight", "text_model.other"])
def test_an_unknown_tensor_is_noticed(tower: TextTower, name: str) -> None:
    mapped = tower_weights(_as_transformers(tower) | {name: torch.ones(2)}, SMALL)
    with pytest.raises(WeightsError, match="unexpected"):
        check_fit(tower.state_dict(), mapped, "here")


def test_other_files_are_refused() -> None:
    with pytest.raises(WeightsError, match="no text encoder"):
        tower_weights({"encoder.weight": torch.ones(2)})


def test_a_token_does_not_see_those_behind_it(tower: TextTower) -> None:
    a, b = torch.tensor([[49, 3, 7, 48, 0, 0]]), torch.tensor([[49, 3, 7, 9, 1, 2]])
    with torch.no_grad():
        difference = (tower(a) - tower(b)).abs().amax((0, 2))
    assert difference[:3].max() < 1e-6 < 1e-3 < difference[3:].min()


def test_published_size() -> None:
    with torch.device("meta"):
        tower = TextTower()
    assert sum(parameter.numel() for parameter in tower.parameters()) == 340_387_840  # of Stable Diffusion 2.x
