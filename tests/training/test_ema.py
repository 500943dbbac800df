"""The moving average: short at first, follows slowly, lends itself to the network and gives it back."""

from __future__ import annotations

import pytest
import torch

from starvsr.training.ema import MovingAverage


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (8, 0.5), (10**6, 0.75)])
def test_a_young_run_has_a_short_average(network: torch.nn.Module, step: int, share: float) -> None:
    average = MovingAverage(network)
    begun = {name: value.clone() for name, value in average.tensors.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    average.update(step, decay=0.75)
    for name, value in average.tensors.items():
        assert torch.allclose(value - begun[name], torch.tensor(1 - share))


def test_what_never_changes_has_no_copy(network: torch.nn.Module) -> None:
    assert list(MovingAverage(network, but=["bias"]).tensors) == ["weight"]


def test_the_network_gets_its_own_weights_back_after_an_error_too(network: torch.nn.Module) -> None:
    average = MovingAverage(network, but=["bias"])
    begun = average.tensors["weight"].clone()
    with torch.no_grad():
        network.get_parameter("weight").zero_()
        network.get_parameter("bias").zero_()
    with average.in_place():
        assert torch.equal(network.get_parameter("weight"), begun)
        assert not network.get_parameter("bias").any()
    assert not network.get_parameter("weight").any()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    assert not network.get_parameter("weight").any() and torch.equal(average.tensors["weight"], begun)


def test_what_was_saved_is_loaded(network: torch.nn.Module) -> None:
    state = MovingAverage(network).whole()
    other = MovingAverage(torch.nn.Linear(3, 2))
    assert not torch.equal(other.tensors["weight"], state["weight"])
    other.load(state)
    assert all(torch.equal(value, state[name]) for name, value in other.tensors.items())
