"""Optimiser and learning rate: orthogonalised momentum for matrices with Adam for the rest, or AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from starvsr.training.config import RunConfig, StageConfig
from starvsr.training.parts import NamedParts


def build_optimizer(network: nn.Module, parts: NamedParts, run: RunConfig) -> Optimizer:
    """Build the optimiser that a recipe names, for what of a network is trained; its rate is set at every step.

    The first and last convolutions are Muon's, too: all their inputs move together, so Adam's steps of equal size in
    every weight would add up to jumps of the whole picture's brightness.
    """
    groups = parameter_groups(network, parts.adam, parts.head or None)
    if run.optimizer == "muon":
        return Muon(groups, lr=0.0, weight_decay=run.weight_decay)
    return AdamW(groups, lr=0.0, weight_decay=run.weight_decay)


class Muon(Optimizer):
    """Momentum whose matrix updates are made orthogonal; groups with ``adam`` set use Adam instead.

    Convolution kernels count as matrices [out, in * kernel]. Updates are scaled to the size of Adam's, so that
    one learning rate serves both kinds.

    Source: Muon (K. Jordan, 2024); scale of arXiv 2502.16982.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        """Build from parameter groups, each with "params" and "adam" (bool)."""
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "adam": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None, "closures are not supported"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = self._adam(parameter) if group["adam"] else self._muon(parameter)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"])

    def _muon(self, parameter: Tensor, momentum: float = 0.95) -> Tensor:
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(grad, 1 - momentum)
        matrix = grad.lerp(average, momentum).flatten(1)
        scale = 0.2 * max(matrix.shape) ** 0.5
        return orthogonalize(matrix).mul_(scale).view_as(parameter)

    def _adam(self, parameter: Tensor, beta1: float = 0.9, beta2: float = 0.99) -> Tensor:
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        count = int(state["step"])
        mean = state["mean"].lerp_(grad, 1 - beta1) / (1 - beta1**count)
        square = state["square"].lerp_(grad.square(), 1 - beta2) / (1 - beta2**count)
        return mean / (square.sqrt() + 1e-8)


def orthogonalize(matrix: Tensor, num_iterations: int = 5) -> Tensor:
    """Return about the nearest matrix with orthonormal rows or columns, by Newton-Schulz steps.

    In bfloat16, and on CPUs in float32: many of them emulate bfloat16, ten times as slow.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = (wide / (wide.norm() + 1e-7)).to(torch.float32 if matrix.device.type == "cpu" else torch.bfloat16)
    for _ in range(num_iterations):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).to(matrix.dtype)


def parameter_groups(
    module: nn.Module, adam_names: tuple[str, ...] = (), head_name: str | None = None
) -> list[dict[str, Any]]:
    """Split what is trained into groups for :class:`Muon`, empty ones left out.

    Matrices are Muon's; vectors, and names with a part of ``adam_names``, are Adam's. Parameters with ``head_name``
    in their name get groups of their own with "is_head" set.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_small = parameter.ndim < 2 or min(parameter.flatten(1).shape) < 8
            adam = is_small or any(part in name for part in adam_names)
            is_head = head_name is not None and head_name in name
            groups.setdefault((adam, is_head), []).append(parameter)
    return [{"params": p, "adam": adam, "is_head": head} for (adam, head), p in sorted(groups.items(), key=_key)]


def _key(item: tuple[tuple[bool, bool], list[nn.Parameter]]) -> tuple[bool, bool]:
    return item[0]


def learning_rate(stage: StageConfig, step: int) -> float:
    """Rise over the warm-up, then stay or fall to zero along a cosine."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return stage.lr
    share = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * share))
