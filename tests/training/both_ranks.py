"""What two processes compute, by one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

from starvsr.data.clips import Clip
from starvsr.data.pool import Batch, SampleStream
from starvsr.training.loop import Trainer


class BothRanks(Trainer):
    """One process that takes the batches of two, one after the other, and averages their gradients."""

    def _stream(self) -> Any:
        own, streams = self.processes, []
        for rank in (0, 1):
            self.processes = dataclasses.replace(own, rank=rank, world=2)
            streams.append(super()._stream())
        self.processes = own

        class Both:
            def cut_to(self, *sizes: int) -> None:
                for stream in streams:
                    stream.cut_to(*sizes)

            def add_examples(self, add: Callable[[Clip], Clip] | None) -> None:
                for stream in streams:
                    stream.add_examples(add)

            def batches(self, size: int) -> Iterator[Batch]:
                each = [SampleStream.batches(stream, size) for stream in streams]
                while True:
                    yield from map(next, each)

        return Both()

    def _step_rng(self, part: int) -> torch.Generator:
        own = self.processes
        self.processes = dataclasses.replace(own, rank=part)
        rng = super()._step_rng(0)
        self.processes = own
        return rng
