"""Named parts of a network: which of its parameters a stage trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn

from starvsr.errors import OptionError


def _all(name: str) -> bool:
    return True


@dataclass(frozen=True)
class NamedParts:
    """Parts of a family's networks by the names of their parameters.

    Args:
        parts: Name of a part to a rule: does a parameter of this name belong to it? "all" is always there.
        head: Where the names of the last layer's parameters begin; "" for a network whose last layer is like others.
        adam: Parts of names whose matrices are left to Adam where others are Muon's.
    """

    parts: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    head: str = ""
    adam: tuple[str, ...] = ()

    def names(self, network: nn.Module, words: Iterable[str]) -> list[str]:
        """Return the names of the parameters that belong to any of some parts.

        Raises:
            OptionError: an unknown part.
        """
        rules = {"all": _all, **self.parts}
        words = list(words)
        unknown = [word for word in words if word not in rules]
        if unknown:
            raise OptionError(f"unknown part {unknown[0]!r} in trains: choose from {', '.join(rules)}")
        return [name for name, _ in network.named_parameters() if any(rules[word](name) for word in words)]

    def head_names(self, network: nn.Module) -> list[str]:
        """Return the names of the last layer's parameters."""
        return [n for n, _ in network.named_parameters() if self.head and n.startswith(self.head)]
