"""Out-of-memory errors of a family that the core does not know: weights move, plans shrink, results go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from starvsr.errors import ResourceError
from starvsr.offload import manager as manager_module
from starvsr.offload.footprint import ClipSize, PlanLimits, predict
from starvsr.offload.manager import MemoryManager
from starvsr.offload.weights import Component
from tests.support.footprints import StripedFootprint, StripedPlan

CLIP = ClipSize(8, 64, 64)


class Family:
    """Two networks under a manager; remembers which plans were applied."""

    def __init__(self) -> None:
        self.eye, self.hand = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        self.applied: list[StripedPlan] = []
        components = {"eye": Component(self.eye), "hand": Component(self.hand, list(self.hand))}
        self.memory: MemoryManager[StripedPlan] = MemoryManager(
            StripedFootprint(), components, torch.device("cpu"), ("resident", "offload", "stream"), self.applied.append
        )


def _out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory.")


def test_a_phase_is_run_again_with_a_smaller_plan(caplog: pytest.LogCaptureFixture) -> None:
    family, calls = Family(), [0]
    family.memory.apply_plan(StripedPlan())
    smaller: list[StripedPlan] = []
    family.memory.on_smaller_plan = smaller.append

    def draw() -> str:
        calls[0] += 1
        if calls[0] < 3:
            raise _out_of_memory()
        return "drawn"

    with caplog.at_level(logging.WARNING):
        assert family.memory.attempt("draw", CLIP, draw) == "drawn"
    assert family.applied == [StripedPlan(), *smaller] and len(smaller) == 2 and calls == [3]
    needs = [predict(StripedFootprint(), CLIP, plan).of("draw") for plan in family.applied]
    assert needs == sorted(needs, reverse=True) and needs[-1] < 0.8 * needs[0]
    assert len(family.memory.notes) == 2 and "continues with" in caplog.text


def test_results_already_yielded_are_not_yielded_again() -> None:
    family, calls = Family(), [0]
    family.memory.apply_plan(StripedPlan())

    def work() -> Iterator[int]:
        calls[0] += 1
        for number in range(4):
            if calls[0] == 1 and number == 2:
                raise _out_of_memory()
            yield number

    assert list(family.memory.attempt_each("draw", CLIP, work)) == [0, 1, 2, 3] and calls == [2]


def test_without_a_smaller_plan_it_is_an_error() -> None:
    family = Family()
    family.memory.apply_plan(StripedPlan("stream"))

    def look() -> None:
        raise _out_of_memory()

    with pytest.raises(ResourceError, match="no smaller plan than weights of the network streamed"):
        family.memory.attempt("look", CLIP, look)


def test_a_phase_has_the_weights_that_it_uses_and_no_others() -> None:
    family = Family()
    family.memory.apply_plan(StripedPlan("offload"))
    home = {id(net): next(net.parameters()).data_ptr() for net in (family.eye, family.hand)}

    def moved() -> list[bool]:
        return [next(net.parameters()).data_ptr() != home[id(net)] for net in (family.eye, family.hand)]

    assert family.memory.attempt("look", CLIP, moved) == [True, False]
    assert family.memory.attempt("draw", CLIP, moved) == [True, True]
    assert moved() == [False, False]
    family.memory.apply_plan(StripedPlan("stream"))
    x, plain = torch.ones(1, 3), family.hand(torch.ones(1, 3))
    assert torch.equal(family.memory.attempt("draw", CLIP, lambda: family.hand(x)), plain)
    family.memory.end()
    assert moved() == [False, False]


@pytest.mark.parametrize("margin", [0, -1])
def test_without_a_plan_the_free_memory_decides(monkeypatch: pytest.MonkeyPatch, margin: int) -> None:
    family = Family()
    whole = predict(StripedFootprint(), CLIP, StripedPlan()).peak
    free = -(-whole * 100 // 95) + 1 if margin == 0 else whole
    monkeypatch.setattr(manager_module, "free_bytes", lambda device: free)
    plan = family.memory.plan_for(CLIP)
    assert (plan == StripedPlan()) == (margin == 0)
    assert predict(StripedFootprint(), CLIP, plan).peak <= 0.95 * free or margin


def test_a_cpu_starts_with_the_first_candidate() -> None:
    family = Family()
    assert family.memory.plan_for(CLIP) == StripedFootprint().candidates(CLIP, PlanLimits())[0]
