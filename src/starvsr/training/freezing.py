"""Which parameters a stage trains, and which no stage does."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import nn

from starvsr.errors import OptionError
from starvsr.models.weights.assign import release_pages
from starvsr.training.config import StageConfig
from starvsr.training.parts import NamedParts


def choose_trained(network: nn.Module, parts: NamedParts, stage: StageConfig) -> list[str]:
    """Freeze all of a network but what the stage trains, and return the names of that.

    Frozen parameters get no gradient at all: none is computed, kept or sent to other processes.

    Raises:
        OptionError: an unknown part, or nothing left to train.
    """
    trained = parts.names(network, stage.trained_parts)
    if not trained:
        raise OptionError(f"nothing to train: this network has no {' and no '.join(stage.trained_parts)}")
    chosen = set(trained)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)
    return trained


def constant_names(network: nn.Module, parts: NamedParts, stages: Iterable[StageConfig]) -> frozenset[str]:
    """Return the names of the parameters that no stage trains or sets.

    Raises:
        OptionError: an unknown part.
    """
    changed: set[str] = set()
    for stage in stages:
        changed.update(parts.names(network, stage.trained_parts))
        if stage.zero_head:
            changed.update(parts.head_names(network))
    return frozenset(name for name, _ in network.named_parameters() if name not in changed)


def cast_parameters(
    network: nn.Module, constant: Collection[str], device: torch.device | str, frozen: torch.dtype
) -> None:
    """Give what trains memory of its own in float32; what never trains stays one copy, matrices in type ``frozen``.

    Vectors stay in float32: norms compute in it. Matrices are multiplied in that type anyhow.
    """
    cast = {}
    for name, value in network.state_dict().items():
        dtype = frozen if name in constant and value.ndim > 1 else torch.float32
        cast[name] = value.to(device, dtype, copy=name not in constant)
        if cast[name] is not value:
            release_pages(value)
    network.load_state_dict(cast, assign=True)
