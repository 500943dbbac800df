"""Auxiliary networks of a stage: teacher, score, critic, features, example."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from starvsr.errors import MissingWeightsError
from starvsr.models.vgg16 import check_vgg16, load_vgg16
from starvsr.training.discriminator import PatchCritic
from starvsr.training.example_network import ExampleNetwork, check_example
from starvsr.training.feature_critic import FeatureCritic
from starvsr.training.model import TrainingModel
from starvsr.training.two_heads import TwoHeadCritic

Build = Callable[[TrainingModel, torch.device | str], nn.Module]
"""(model, device for networks that are not copies of the model's) -> network."""


@dataclass(frozen=True)
class AuxiliaryNetwork:
    """What an objective asks for.

    Args:
        name: By which objectives and checkpoints know it.
        build: Makes it, of the model as the stage finds it.
        lr: Learning rate; None for one that is frozen.
        is_stored: Whether checkpoints hold it; what is read from a package or a file of its own need not be.
        check: Refuses, before the first step of the run, what building would fail on: a missing file or package.
    """

    name: str
    build: Build
    lr: float | None = None
    is_stored: bool = True
    check: Callable[[], object] = lambda: None


def teacher(weights: str = "") -> AuxiliaryNetwork:
    """The network as the stage finds it, or with the weights of a file; frozen."""
    return AuxiliaryNetwork(
        "teacher", lambda model, device: _copied(model, weights).eval(), check=lambda: _check_weights(weights)
    )


def score(weights: str, lr: float) -> AuxiliaryNetwork:
    """A model of the student's results, which begins as the teacher does."""
    return AuxiliaryNetwork(
        "score", lambda model, device: _copied(model, weights), lr, check=lambda: _check_weights(weights)
    )


def critic(kind: str, lr: float) -> AuxiliaryNetwork:
    """The discriminator of the adversarial term: "patch", "two-head" or "features"."""
    return AuxiliaryNetwork("critic", lambda model, device: new_critic(kind).to(device), lr)


def features() -> AuxiliaryNetwork:
    """A frozen VGG16 trunk, read anew from its package whenever a stage is prepared."""
    return AuxiliaryNetwork("features", _features, is_stored=False, check=lambda: check_vgg16())


def example(file: str) -> AuxiliaryNetwork:
    """A frozen network of another project, read anew from its file whenever a stage is prepared."""
    return AuxiliaryNetwork(
        "example",
        lambda model, device: ExampleNetwork(file, model.scale, device),
        is_stored=False,
        check=lambda: check_example(file),
    )


def new_critic(kind: str = "patch") -> nn.Module:
    """Build a discriminator with fresh weights."""
    kinds: dict[str, type[nn.Module]] = {"patch": PatchCritic, "two-head": TwoHeadCritic, "features": FeatureCritic}
    return kinds[kind]()


class AuxiliaryNetworks:
    """Builds the auxiliary networks of a stage, takes their steps and saves them.

    Args:
        model: What trains.
        seed: Of their first weights.
        device: Where the critic and the features compute; the others are on the network's device.
    """

    def __init__(self, model: TrainingModel, *, seed: int, device: torch.device | str) -> None:
        self.model, self.seed, self.device = model, seed, device
        self.networks: dict[str, nn.Module] = {}
        """Of the stage that is prepared, by name."""
        self._optimizers: dict[str, Optimizer] = {}
        self._unstored: set[str] = set()
        self._state: dict[str, Any] = {}
        """What was loaded, until its stage is prepared; then the number of the stage."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep what :meth:`state_dict` returned for when the stage that it is of is prepared."""
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        """Return the stage's number, each stored network by its name, and the optimisers as ``NAME_optimizer``."""
        state = dict(self._state)
        for name, network in self.networks.items():
            if name not in self._unstored:
                state[name] = network.state_dict()
        for name, optimizer in self._optimizers.items():
            state[f"{name}_optimizer"] = optimizer.state_dict()
        return state

    def prepare(self, number: int, wanted: Sequence[AuxiliaryNetwork]) -> None:
        """Replace the networks by those of a stage, from what was loaded if that is of this stage, else new ones."""
        stored = self._state if self._state.get("stage") == number else {}
        self.networks, self._optimizers = {}, {}
        self._state = {"stage": number}
        self._unstored = {one.name for one in wanted if not one.is_stored}
        for one in wanted:
            torch.manual_seed(self.seed)
            network = one.build(self.model, self.device)
            if one.name in stored:
                network.load_state_dict(stored[one.name])
            network.requires_grad_(one.lr is not None)
            self.networks[one.name] = network
            if one.lr is not None:
                optimizer = AdamW(network.parameters(), lr=one.lr, betas=(0.5, 0.99), weight_decay=0.0)
                if one.name in stored:
                    optimizer.load_state_dict(stored[f"{one.name}_optimizer"])
                self._optimizers[one.name] = optimizer

    def zero_grad(self) -> None:
        """Forget the gradients of all that learn."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def step(self, average_gradients: Callable[[Iterable[nn.Parameter]], None], clip_grad: float) -> None:
        """Take a step with each that learns.

        Args:
            average_gradients: Makes gradients those of all processes.
            clip_grad: Norm that the gradient of each network is cut to.
        """
        for name, optimizer in self._optimizers.items():
            parameters = [p for p in self.networks[name].parameters() if p.grad is not None]
            average_gradients(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, clip_grad)
            optimizer.step()


def _check_weights(weights: str) -> None:
    if weights and not Path(weights).exists():
        raise MissingWeightsError(f"teacher {weights}: there is no such file; give weights of this recipe's model")


def _copied(model: TrainingModel, weights: str) -> nn.Module:
    other = copy.deepcopy(model.network).requires_grad_(True)
    other.zero_grad(set_to_none=True)
    if weights:
        model.load(other, Path(weights))
    return other


def _features(model: TrainingModel, device: torch.device | str) -> nn.Module:
    network = load_vgg16().to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
