"""Teacher, score and critic alone: what stands beside the network in a stage, learns, and is found again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from starvsr.families import registry
from starvsr.training.auxiliary_networks import AuxiliaryNetworks
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.families import build_model
from starvsr.training.model import TrainingModel
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.recipe import make_stage
from tests.training.tiny import TINY

MATCHING = make_stage("distribution-matching", 1, losses={"adversarial": 0.1})


def wanted(stage: StageConfig) -> Any:
    return OBJECTIVES[stage.objective].auxiliary(stage.tables)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TrainingModel:
    monkeypatch.setitem(registry.MODELS, "tiny", TINY)
    return build_model(TrainConfig((MATCHING,), "tiny"))


def _learn(networks: AuxiliaryNetworks, size: float = 1.0) -> None:
    """Take a step with a gradient of the same size in all that learn."""
    networks.zero_grad()
    for name, network in networks.networks.items():
        if name != "teacher":
            for parameter in network.parameters():
                parameter.grad = torch.full_like(parameter, size)
    networks.step(lambda parameters: None, clip_grad=1.0)


def _copy(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_a_stage_has_the_networks_that_it_names(model: TrainingModel) -> None:
    networks = AuxiliaryNetworks(model, seed=1, device="cpu")
    for stage, names in (
        (MATCHING, {"teacher", "score", "critic"}),
        (StageConfig("consistency", 1), {"teacher"}),
        (StageConfig("one-step", 1), set()),
    ):
        networks.prepare(0, wanted(stage))
        assert set(networks.networks) == names
        assert set(networks.state_dict()) == {"stage"} | names | {f"{name}_optimizer" for name in names - {"teacher"}}


def test_teacher_and_score_begin_as_the_network_and_the_teacher_stays(model: TrainingModel) -> None:
    networks = AuxiliaryNetworks(model, seed=1, device="cpu")
    networks.prepare(0, wanted(MATCHING))
    own = _copy(model.network.state_dict())
    assert model.network.training and not networks.networks["teacher"].training
    assert not any(parameter.requires_grad for parameter in networks.networks["teacher"].parameters())
    _learn(networks)
    for name, value in networks.networks["teacher"].state_dict().items():
        assert torch.equal(value, own[name])
    assert any(not torch.equal(v, own[n]) for n, v in networks.networks["score"].state_dict().items())
    assert all(torch.equal(value, own[name]) for name, value in model.network.state_dict().items())


def test_the_gradients_of_all_processes_are_asked_for(model: TrainingModel) -> None:
    networks = AuxiliaryNetworks(model, seed=1, device="cpu")
    networks.prepare(0, wanted(MATCHING))
    sizes: list[int] = []
    for name in ("score", "critic"):
        for parameter in networks.networks[name].parameters():
            parameter.grad = torch.ones_like(parameter)
    networks.step(lambda parameters: sizes.append(len(list(parameters))), clip_grad=1.0)
    assert sizes == [len(list(networks.networks[name].parameters())) for name in ("score", "critic")]
    networks.zero_grad()
    assert all(parameter.grad is None for parameter in networks.networks["score"].parameters())


def test_what_was_saved_goes_on_in_its_stage_and_in_no_other(model: TrainingModel) -> None:
    networks = AuxiliaryNetworks(model, seed=1, device="cpu")
    networks.prepare(2, wanted(MATCHING))
    _learn(networks)
    saved = networks.state_dict()
    saved = {name: _copy(value) if name in ("teacher", "score", "critic") else value for name, value in saved.items()}
    for parameter in model.network.parameters():
        torch.nn.init.ones_(parameter)

    again = AuxiliaryNetworks(model, seed=1, device="cpu")
    again.load_state_dict(saved)
    kept = again.state_dict()  # until its stage begins
    assert kept.keys() == saved.keys() and all(kept[name] is saved[name] for name in saved)
    again.prepare(2, wanted(MATCHING))
    for name in ("teacher", "score", "critic"):
        found = again.networks[name].state_dict()
        assert all(torch.equal(value, saved[name][key]) for key, value in found.items())
    assert again.state_dict()["score_optimizer"]["state"][0]["step"] == 1

    other = AuxiliaryNetworks(model, seed=1, device="cpu")
    other.load_state_dict(saved)
    other.prepare(3, wanted(MATCHING))
    found = other.networks["teacher"].state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.network.state_dict().items())
    assert not other.state_dict()["score_optimizer"]["state"]
