"""The networks that stand beside the trained one in a stage: teacher, score, critic."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from starvsr.models.vgg16 import load_vgg16
from starvsr.models.weights import load_weights
from starvsr.training.config import StageConfig
from starvsr.training.objectives import helper_names, new_critic
from starvsr.training.trainee import CaptionedStar, Trainee

_FROZEN = ("teacher", "features")


class HelperNetworks:
    """Builds the helpers of a stage into the trainee, where its objectives find them, steps and saves them.

    The teacher is the network as the stage found it, or the stage's ``teacher`` file, and is frozen. The score begins
    as the same; it and the critic learn from what the network makes, each with an optimiser of its own. The features
    are a VGG16 trunk that never learns and is read anew from its package.

    Args:
        trainee: Gets the helpers.
        seed: Of the critic's first weights.
        device: Where the critic computes; the others lie where the network does.
    """

    def __init__(self, trainee: Trainee, *, seed: int, device: torch.device | str) -> None:
        self.trainee, self.seed, self.device = trainee, seed, device
        self._optimizers: dict[str, Optimizer] = {}
        self._state: dict[str, Any] = {}
        """What was loaded, until its stage is prepared; then the number of the stage."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep what :meth:`state_dict` returned for when the stage that it is of is prepared."""
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        """Return the stage's number, each helper by its name, and the optimisers as ``NAME_optimizer``."""
        state = dict(self._state)
        for name, helper in self.trainee.helpers.items():
            if name == "features":
                continue
            state[name] = helper.state_dict()
        for name, optimizer in self._optimizers.items():
            state[f"{name}_optimizer"] = optimizer.state_dict()
        return state

    def prepare(self, number: int, stage: StageConfig) -> None:
        """Replace the helpers by those of a stage, from what was loaded if that is of this stage, else new ones."""
        stored = self._state if self._state.get("stage") == number else {}
        self.trainee.helpers, self._optimizers, self.trainee.made = {}, {}, {}
        self._state = {"stage": number}
        for name in helper_names(stage):
            helper = self._new(name, stage)
            if name in stored:
                helper.load_state_dict(stored[name])
            helper.requires_grad_(name not in _FROZEN)
            self.trainee.helpers[name] = helper
            if name not in _FROZEN:
                optimizer = AdamW(helper.parameters(), lr=stage.adversary_lr, betas=(0.5, 0.99), weight_decay=0.0)
                if name in stored:
                    optimizer.load_state_dict(stored[f"{name}_optimizer"])
                self._optimizers[name] = optimizer

    def zero_grad(self) -> None:
        """Forget the gradients of all that learn."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def step(self, average_gradients: Callable[[Iterable[nn.Parameter]], None], clip_grad: float) -> None:
        """Take a step with each that learns.

        Args:
            average_gradients: Makes gradients those of all processes.
            clip_grad: Norm that the gradient of each helper is cut to.
        """
        for name, optimizer in self._optimizers.items():
            parameters = [p for p in self.trainee.helpers[name].parameters() if p.grad is not None]
            average_gradients(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, clip_grad)
            optimizer.step()

    def _new(self, name: str, stage: StageConfig) -> nn.Module:
        torch.manual_seed(self.seed)
        if name == "critic":
            return new_critic(stage.adversary).to(self.device)
        if name == "features":
            network = load_vgg16().to(self.device)
            return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        other = copy.deepcopy(self.trainee.network).requires_grad_(True)
        other.zero_grad(set_to_none=True)
        if stage.teacher:
            load_weights(other.unet if isinstance(other, CaptionedStar) else other, Path(stage.teacher))
        return other.eval() if name == "teacher" else other
