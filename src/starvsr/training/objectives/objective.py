"""What an objective is: the models it trains, what a step computes, and its auxiliary networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.data.clips import Clip
from starvsr.data.pool import Batch
from starvsr.training.auxiliary_networks import AuxiliaryNetwork
from starvsr.training.objectives.tables import StageTables

Losses = dict[str, Tensor]
"""Weighted terms by name, each a scalar; their sum is minimised."""

Auxiliary = Mapping[str, nn.Module]
"""The networks beside the trained one, by name."""


@dataclass(frozen=True)
class StepOutput:
    """What an objective computes of a batch."""

    losses: Losses
    auxiliary_losses: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    """By the name of the auxiliary network: computes what it learns from, from detached results. Called after the
    backward pass of ``losses``, in this order, so that both graphs need not be held at once."""


Compute = Callable[[Any, Batch, Any, Auxiliary, torch.Generator], StepOutput]
"""(model, batch, tables of the stage, auxiliary networks, generator of all randomness but dropout) -> output."""


AddExample = Callable[[Clip], Clip]
"""Adds to a clip what is to be imitated."""


def _none(tables: Any) -> list[AuxiliaryNetwork]:
    return []


def _no_examples(model: Any, tables: Any, auxiliary: Auxiliary) -> AddExample | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One way to train.

    Attributes:
        model: Kind of model that it needs, :class:`TrainingModel` or one derived from it.
        tables: Kind of its tables in a recipe.
        compute: Batch in, losses out.
        auxiliary: Returns the auxiliary networks it needs, given the tables.
        examples: Returns what adds examples to clips, given the model, the tables and the auxiliary networks.
        trains: Parts that learn unless the stage says otherwise, separated by commas.
        teaches_all_levels: Whether what is trained by it can be sampled from noise in several steps.
        decodes: Returns whether gradients go through the decoder, given the tables.
    """

    model: type[Any]
    tables: type[StageTables]
    compute: Compute
    auxiliary: Callable[[Any], Sequence[AuxiliaryNetwork]] = _none
    examples: Callable[[Any, Any, Auxiliary], AddExample | None] = _no_examples
    trains: str = "all"
    teaches_all_levels: bool = False
    decodes: Callable[[Any], bool] = lambda tables: True
