"""A larger CausalSR begins as a smaller one, and what is new in it learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.causal_sr import CausalSR, CausalSRConfig
from starvsr.models.causal_sr_widening import changes, widen

NARROW = CausalSRConfig(width=8, num_blocks=3, memory=2, up_width=4, thin_width=3)
CONTEXT = {"context_width": 4, "context_blocks": 1, "context_after": 1}


def _random(config: CausalSRConfig) -> CausalSR:
    torch.manual_seed(3)
    network = CausalSR(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def _widened(narrow: CausalSR, wide: CausalSRConfig) -> CausalSR:
    torch.manual_seed(4)
    network = CausalSR(wide)
    widen(network, narrow.state_dict(), narrow.config)
    return network


def _clip(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 4, 14, 18, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ({}, {"width": 13}),
        ({}, {"up_width": 6}),
        ({}, {"width": 12, "num_blocks": 5, "up_width": 6, "thin_width": 5, "thin_block": True}),
        ({"shared_head": True}, {"width": 16, "shared_head": True, "up_width": 5, "thin_width": 4}),
        ({}, {"width": 12, **CONTEXT}),
        (
            {**CONTEXT, "thin_block": True},
            {"width": 12, "thin_block": True, "context_width": 6, "context_blocks": 2, "context_after": 1},
        ),
        ({"memory": 3}, {"width": 12, "num_blocks": 5, "memory": 5}),
    ],
)
def test_it_gives_what_the_smaller_one_gives(small: dict[str, Any], large: dict[str, Any]) -> None:
    narrow = _random(dataclasses.replace(NARROW, **small))
    wide = _widened(narrow, dataclasses.replace(NARROW, **large))
    with torch.no_grad():
        wanted = narrow(_clip())
        made = wide(_clip())
        narrow.last.weight.zero_()
        assert (wanted - narrow(_clip())).abs().mean() > 0.05  # the network does something
    assert (made - wanted).abs().max() < 1e-5


def test_what_is_new_learns_from_the_second_step_on() -> None:
    wide = _widened(_random(NARROW), dataclasses.replace(NARROW, width=12, num_blocks=4))
    optimizer = torch.optim.SGD(wide.parameters(), lr=1e-3)
    target = _clip(1).repeat_interleave(4, -1).repeat_interleave(4, -2)
    for _ in range(2):
        optimizer.zero_grad()
        (wide(_clip()) - target).square().mean().backward()
        optimizer.step()

    def slope(name: str) -> Tensor:
        gradient = wide.get_parameter(name).grad
        assert gradient is not None
        return gradient.abs().flatten(1).amax(1)

    new = [2, 9, 10, 11]  # of 12 channels 3 look back, of 8 there were 2
    for name in ("first.weight", "blocks.0.second.weight", "blocks.2.second.weight", "blocks.3.second.weight"):
        assert (slope(name)[new] > 0).all(), name
    assert (slope("blocks.1.first.weight")[8:] > 0).all()
    assert (slope("blocks.3.first.weight") > 0).any()  # the new block
    read = wide.get_parameter("up.weight").grad
    assert read is not None and (read[:, new].abs().amax((0, 2, 3)) > 0).all()


def test_new_channels_are_not_copies_of_old_ones() -> None:
    wide = _widened(_random(NARROW), dataclasses.replace(NARROW, width=12))
    rows = wide.first.weight.detach().flatten(1)
    distances = torch.cdist(rows, rows) + torch.eye(12)
    assert distances.min() > 1e-3 and rows.abs().amax(1).min() > 0


@pytest.mark.parametrize(
    ("small", "large", "told"),
    [
        ({}, {"width": 6}, "width 8 to 6"),
        ({}, {"width": 12, "num_blocks": 2, "memory": 2}, "num_blocks 3 to 2"),
        ({}, {"width": 12, "shared_head": True}, "shared_head False to True"),
        ({}, {"width": 12, "memory": 3}, "memory 2 to 3"),
        ({}, {"width": 12, "memory": 1}, "memory 2 to 1"),
        ({}, {"width": 9, "shift": 0.6}, "2 of 8 channels that look back to 5 of 9"),
        ({**CONTEXT}, {"width": 12, "context_width": 2, "context_blocks": 1}, "context_width 4 to 2"),
        ({**CONTEXT}, {"width": 12, **CONTEXT, "context_after": 2}, "context_after 1 to 2"),
        ({"thin_block": True}, {"width": 12}, "thin_block True to False"),
    ],
)
def test_what_would_change_the_function_is_refused(small: dict[str, Any], large: dict[str, Any], told: str) -> None:
    narrow = _random(dataclasses.replace(NARROW, **small))
    with pytest.raises(WeightsError, match=f"cannot be widened .*{told}.*write those of the weights"):
        _widened(narrow, dataclasses.replace(NARROW, **large))


def test_changes_are_told_by_name() -> None:
    assert changes(NARROW, dataclasses.replace(NARROW, width=12, memory=3)) == {"width": (8, 12), "memory": (2, 3)}
