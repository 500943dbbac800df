"""The memory plan: the published network's numbers without a byte of it, and what recomputing saves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.vae.temporal import TemporalVae
from starvsr.training.config import DataConfig, StageConfig, TrainConfig
from starvsr.training.families.star_i2vgen import decoding_bytes, network_sketch
from starvsr.training.memory import plan_memory, plan_recipe
from starvsr.training.recipe import load_recipe

SMALL = StarUNetConfig(width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=32, first_heads=1,
                       attn_scales=(1.0,), context_dim=16, temporal_stages=(2, 2))  # fmt: skip


def plan(config: StarUNetConfig = SMALL, objective: Any = "star", **options: Any) -> Any:
    sizes = {key: options.pop(key, usual) for key, usual in (("num_frames", 4), ("latent_size", (18, 24)))}
    return plan_memory(network_sketch(config, **sizes), StageConfig(objective, 1), **options)


def test_the_published_network_is_counted_right() -> None:
    found = plan(StarUNetConfig(), num_frames=1, latent_size=(10, 16))
    assert (found.parameters, found.trained) == (2_041_121_910, 629_888_050)
    assert found.weights == 4 * found.parameters // 8


def test_kept_values_are_what_a_real_run_keeps() -> None:
    """Without checkpointing, against tensors that a real forward pass hands to autograd (its attention apart)."""
    network = StarUNet(dataclasses.replace(SMALL, attn_scales=(), first_heads=0, dropout=0.0))
    own = {id(parameter) for parameter in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor if tensor._base is None else tensor._base) not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.randn(1, 4, 4, 18, 24)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(x, torch.zeros(1, dtype=torch.long), torch.randn(1, 77, 16), x)
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    planned = plan(network.config, "velocity", checkpointing=False, bytes_per_value=4).activations
    assert planned == pytest.approx(real, rel=0.15)


def test_recomputing_and_splitting_save_what_they_should() -> None:
    whole, recomputed = plan(checkpointing=False), plan()
    assert recomputed.activations < 0.6 * whole.activations
    one, many = plan(devices=1), plan(devices=8)
    assert many.optimizer == one.optimizer // 8 and many.weights == one.weights // 8
    assert plan(objective="velocity").optimizer > 2 * many.optimizer
    assert "fits 80 GiB" in many.table(80) and "more" in many.table(0.0001)


def test_the_recipe_of_the_published_star_counts_vae_and_text_tower() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "star-2b.toml"
    short = ["data.num_frames=2", "data.lq_crop=36", "network.width=32", "network.head_dim=32"]
    (half,), (full,) = (plan_recipe(load_recipe(recipe, [*short, f"run.precision={p}"]), 1) for p in ("bf16", "fp32"))
    assert full.fixed == 4 * (97_742_847 + 340_387_840)
    assert 0.5 * full.fixed < half.fixed < full.fixed
    assert full.weights == 4 * full.parameters and full.average == 4 * full.trained
    assert 4 * full.trained + 2 * (full.parameters - full.trained) <= half.weights < full.weights
    assert half.total == sum(getattr(half, name) for name in (
        "weights", "average", "gradients", "optimizer", "gathered", "activations", "fixed", "decoding"))  # fmt: skip
    (without,) = plan_recipe(load_recipe(recipe, [*short, "stage.0.losses.frequency=0.0"]), 1)
    assert half.decoding > 0 and without.decoding == 0


def test_a_slice_through_the_decoder_is_what_autograd_keeps() -> None:
    """Against the tensors that a real pass at a small width keeps, and less when blocks are recomputed."""

    def planned(recomputed: bool, frames: int = 2) -> int:
        return decoding_bytes(frames, (4, 4), recomputed)

    decoder = TemporalVae().requires_grad_(False).decoder
    own = {id(parameter) for parameter in decoder.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor if tensor._base is None else tensor._base) not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        decoder(torch.randn(2, 4, 4, 4, requires_grad=True))
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert planned(False) == pytest.approx(real, rel=0.15)
    assert planned(True) < 0.6 * planned(False)
    assert planned(True, 4) == pytest.approx(2 * planned(True, 2), rel=0.15)


@pytest.mark.parametrize(("model", "objective"), [("star-small", "one-step"), ("causal-sr", "regression")])
def test_every_family_can_be_planned(model: str, objective: str) -> None:
    """More frames keep more; the weights are those of the network."""
    plans = []
    for num_frames in (2, 4):
        data = DataConfig(num_frames=num_frames, lq_crop=16)
        (found,) = plan_recipe(TrainConfig((StageConfig(objective, 1),), model, data=data), 1)
        plans.append(found)
    assert plans[1].activations == pytest.approx(2 * plans[0].activations, rel=0.2)
    assert plans[0].trained == plans[0].parameters and plans[0].weights == 4 * plans[0].parameters
    assert 500_000 < plans[0].parameters < 5_000_000 and plans[0].blocks
