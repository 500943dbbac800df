"""The moving average of what a run trains: what is validated and exported in place of the last weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from starvsr.training.distributed import split_like, whole


class MovingAverage:
    """An exponential moving average of a network's tensors.

    Args:
        network: What it follows; it begins as a copy of it. A network split over processes makes a split average.
        but: Names of tensors that never change: they get no copy.
    """

    def __init__(self, network: nn.Module, but: Collection[str] = ()) -> None:
        self.network = network
        self.tensors = {name: value.clone() for name, value in network.state_dict().items() if name not in but}

    @torch.no_grad()
    def update(self, step: int, decay: float) -> None:
        """Move towards the network.

        Args:
            step: Steps taken before this one: the average of a young run is a short one.
            decay: Share of the average that stays, once the run is old enough.
        """
        decay = min(decay, (1 + step) / (10 + step))
        own = self.network.state_dict()
        for name, average in self.tensors.items():
            average.lerp_(own[name], 1 - decay)

    def whole(self) -> dict[str, Tensor]:
        """Return the average as whole tensors; all processes must ask for it."""
        return {name: whole(value) for name, value in self.tensors.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load whole tensors as the average, on the device and with the sharding of the present ones."""
        self.tensors = {name: split_like(state[name], own).to(own.device) for name, own in self.tensors.items()}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Swap the average into the network for the duration of the block."""
        own = {name: value.clone() for name, value in self.network.state_dict().items() if name in self.tensors}
        self._fill(self.tensors)
        try:
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        own = self.network.state_dict()
        for name, value in tensors.items():
            own[name].copy_(value)
