"""The memory plan: the published network's numbers without a byte of it, and what recomputing saves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from starvsr.models.star_unet import StarUNet, StarUNetConfig
from starvsr.training.config import StageConfig
from starvsr.training.memory import plan_memory

SMALL = StarUNetConfig(width=32, multipliers=(1, 2), num_res_blocks=1, head_dim=32, first_heads=1,
                       attn_scales=(1.0,), context_dim=16, temporal_stages=(2, 2))  # fmt: skip


def plan(config: StarUNetConfig = SMALL, objective: Any = "star", **options: Any) -> Any:
    sizes: dict[str, Any] = {"num_frames": 4, "latent_size": (18, 24)}
    return plan_memory(config, StageConfig(objective, 1), **sizes | options)


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
