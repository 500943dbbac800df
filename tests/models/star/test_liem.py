"""LIEM: where the gates stand, which there are, and what they can do there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.liem import NoGate, SpaceGate, TimeGate
from starvsr.models.star.unet import StarUNet

SMALL = StarUNetConfig(
    in_channels=4, out_channels=4, width=8, multipliers=(1, 2), num_res_blocks=1, head_dim=8, first_heads=1,
    attn_scales=(1.0,), context_dim=8, norm="channel", temporal_stages=(1, 1), dropout=0.0,
)  # fmt: skip


def build(**changes: Any) -> StarUNet:
    torch.manual_seed(0)
    network = StarUNet(dataclasses.replace(SMALL, **changes)).eval()
    names = [name for name, _ in network.named_parameters()]
    for name, parameter in network.named_parameters():
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    assert names
    return network


@torch.inference_mode()
def output(network: StarUNet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x, hint = (torch.randn(1, 4, 3, 6, 8, generator=generator) for _ in range(2))
    return network(x, torch.tensor([300]), torch.randn(1, 2, 8, generator=generator), hint)


def test_every_position_gives_another_network_with_the_same_weights() -> None:
    outputs = [output(build(liem_position=position)) for position in ("before", "after", "stream", "acting")]
    assert len({tuple(out.flatten()[:5].tolist()) for out in outputs}) == 4
    assert len({tuple(build(liem_position=p).state_dict()) for p in ("before", "acting")}) == 1


@pytest.mark.parametrize(("space", "time"), [(True, True), (True, False), (False, True), (False, False)])
def test_gates_can_be_left_out(space: bool, time: bool) -> None:
    network = build(liem_space=space, liem_time=time)
    kinds = {type(module) for module in network.modules()}
    assert ((SpaceGate in kinds), (TimeGate in kinds)) == (space, time)
    assert (NoGate in kinds) == (not (space and time))
    assert any(".local" in name for name in network.state_dict()) == (space or time)


def test_a_gate_before_the_norm_is_cancelled_and_an_acting_one_is_not() -> None:
    changes = {}
    for position in ("before", "acting"):
        network = build(liem_position=position)
        plain = output(network)
        for name, parameter in network.named_parameters():
            if ".local" in name:
                parameter.data.neg_()  # other factors for every token
        changes[position] = float((output(network) - plain).norm() / plain.norm())
    assert changes["acting"] > 20 * changes["before"]


def test_an_acting_gate_starts_as_none() -> None:
    acting = build(liem_position="acting")
    for name, parameter in acting.named_parameters():
        if ".local" in name:
            parameter.data.zero_()
    without = build(liem_space=False, liem_time=False)
    torch.testing.assert_close(output(acting), output(without), atol=1e-5, rtol=1e-5)
