"""Which part of a network a stage trains: parts by the names of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from starvsr.errors import OptionError
from starvsr.training.config import StageConfig

HEAD_NAME = "unet.out.2."
"""Where the names of the last layer's parameters begin."""

PARTS: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    "control": lambda name: "VideoControlNet." in name,
    "liem": lambda name: ".local" in name,
    "context": lambda name: name.startswith("context."),
    "unet": lambda name: "VideoControlNet." not in name and ".local" not in name and not name.startswith("context."),
}
"""Parts of a network by the names of its parameters."""

TRAINS = {"star": "control,liem"}
"""Parts that learn by an objective unless the stage says otherwise; "all" for the others."""


def choose_trained(network: nn.Module, stage: StageConfig) -> list[str]:
    """Freeze all of a network but what the stage trains, and return the names of that.

    Frozen parameters get no gradient at all: none is computed, kept or sent to other processes.

    Raises:
        OptionError: an unknown part, or nothing left to train.
    """
    words = _words(stage)
    trained = []
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(PARTS[word](name) for word in words))
        if parameter.requires_grad:
            trained.append(name)
    if not trained:
        raise OptionError(f"nothing to train: this network has no {' and no '.join(words)}")
    return trained


def constant_names(network: nn.Module, stages: Iterable[StageConfig]) -> frozenset[str]:
    """Return the names of the parameters that no stage trains or sets.

    Raises:
        OptionError: an unknown part.
    """
    stages = list(stages)
    words = {word for stage in stages for word in _words(stage)}
    head_is_set = any(stage.zero_head for stage in stages)
    return frozenset(
        name
        for name, _ in network.named_parameters()
        if not any(PARTS[word](name) for word in words) and not (head_is_set and name.startswith(HEAD_NAME))
    )


def _words(stage: StageConfig) -> list[str]:
    words = [word.strip() for word in (stage.trains or TRAINS.get(stage.objective, "all")).split(",")]
    unknown = [word for word in words if word not in PARTS]
    if unknown:
        raise OptionError(f"unknown part {unknown[0]!r} in trains: choose from {', '.join(PARTS)}")
    return words
