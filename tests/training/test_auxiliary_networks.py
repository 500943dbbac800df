"""Teacher, score and critic alone: what stands beside the network in a stage, learns, and is found again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from starvsr.families import registry
from starvsr.training.auxiliary_networks import HelperNetworks
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.trainee import Trainee, build_trainee
from tests.training.tiny import TINY

MATCHING = StageConfig("distribution-matching", 1, adversarial_weight=0.1)


@pytest.fixture
def trainee(monkeypatch: pytest.MonkeyPatch) -> Trainee:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    return build_trainee(TrainConfig((MATCHING,), "tiny"))


def _learn(helpers: HelperNetworks, size: float = 1.0) -> None:
    """Take a step with a gradient of the same size in all that learn."""
    helpers.zero_grad()
    for name, helper in helpers.trainee.helpers.items():
        if name != "teacher":
            for parameter in helper.parameters():
                parameter.grad = torch.full_like(parameter, size)
    helpers.step(lambda parameters: None, clip_grad=1.0)


def _copy(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_a_stage_has_the_helpers_that_it_names(trainee: Trainee) -> None:
    helpers = HelperNetworks(trainee, seed=1, device="cpu")
    for stage, names in (
        (MATCHING, {"teacher", "score", "critic"}),
        (StageConfig("consistency", 1), {"teacher"}),
        (StageConfig("one-step", 1), set()),
    ):
        helpers.prepare(0, stage)
        assert set(trainee.helpers) == names
        assert set(helpers.state_dict()) == {"stage"} | names | {f"{name}_optimizer" for name in names - {"teacher"}}


def test_teacher_and_score_begin_as_the_network_and_the_teacher_stays(trainee: Trainee) -> None:
    helpers = HelperNetworks(trainee, seed=1, device="cpu")
    helpers.prepare(0, MATCHING)
    own = _copy(trainee.network.state_dict())
    assert trainee.network.training and not trainee.helpers["teacher"].training
    assert not any(parameter.requires_grad for parameter in trainee.helpers["teacher"].parameters())
    _learn(helpers)
    for name, value in trainee.helpers["teacher"].state_dict().items():
        assert torch.equal(value, own[name])
    assert any(not torch.equal(v, own[n]) for n, v in trainee.helpers["score"].state_dict().items())
    assert all(torch.equal(value, own[name]) for name, value in trainee.network.state_dict().items())


def test_the_gradients_of_all_processes_are_asked_for(trainee: Trainee) -> None:
    helpers = HelperNetworks(trainee, seed=1, device="cpu")
    helpers.prepare(0, MATCHING)
    sizes: list[int] = []
    for name in ("score", "critic"):
        for parameter in trainee.helpers[name].parameters():
            parameter.grad = torch.ones_like(parameter)
    helpers.step(lambda parameters: sizes.append(len(list(parameters))), clip_grad=1.0)
    assert sizes == [len(list(trainee.helpers[name].parameters())) for name in ("score", "critic")]
    helpers.zero_grad()
    assert all(parameter.grad is None for parameter in trainee.helpers["score"].parameters())


def test_what_was_saved_goes_on_in_its_stage_and_in_no_other(trainee: Trainee) -> None:
    helpers = HelperNetworks(trainee, seed=1, device="cpu")
    helpers.prepare(2, MATCHING)
    _learn(helpers)
    saved = helpers.state_dict()
    saved = {name: _copy(value) if name in ("teacher", "score", "critic") else value for name, value in saved.items()}
    for parameter in trainee.network.parameters():
        torch.nn.init.ones_(parameter)
    trainee.helpers = {}  # as in a new process

    again = HelperNetworks(trainee, seed=1, device="cpu")
    again.load_state_dict(saved)
    kept = again.state_dict()  # until its stage begins
    assert kept.keys() == saved.keys() and all(kept[name] is saved[name] for name in saved)
    again.prepare(2, MATCHING)
    for name in ("teacher", "score", "critic"):
        found = trainee.helpers[name].state_dict()
        assert all(torch.equal(value, saved[name][key]) for key, value in found.items())
    assert again.state_dict()["score_optimizer"]["state"][0]["step"] == 1

    other = HelperNetworks(trainee, seed=1, device="cpu")
    other.load_state_dict(saved)
    other.prepare(3, MATCHING)
    found = trainee.helpers["teacher"].state_dict()
    assert all(torch.equal(value, found[name]) for name, value in trainee.network.state_dict().items())
    assert not other.state_dict()["score_optimizer"]["state"]
