"""Where the time of workers went, by the notes that they took of their orders."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

from benchmarks.cluster.counting_worker import Note


@dataclass(frozen=True)
class Mean:
    """What orders of one kind took on the average.

    Args:
        number: How many there were.
        seconds: Time of one.
        processor: Processor time of one, in seconds.
    """

    number: int
    seconds: float
    processor: float


@dataclass(frozen=True)
class Timeline:
    """A run of a batch in which nothing failed.

    Args:
        workers: Workers that had orders.
        seconds: From the begin of the first order to the end of the last one.
        share: The shares.
        plan: The orders that planned a clip and cut it into shares.
        join: The orders that joined, delivered and verified a clip.
        between: Mean seconds of a worker between the end of an order and the begin of the next one.
        after: Mean seconds of a worker from the end of its last order to the end of the run.
    """

    workers: int
    seconds: float
    share: Mean
    plan: Mean
    join: Mean
    between: float
    after: float

    @property
    def num_shares(self) -> int:
        """Shares that were made, all clips together."""
        return self.share.number


def read_timeline(path: Path) -> Timeline:
    """Read the file of notes of `benchmarks.cluster.counting_worker`."""
    return timeline_of([json.loads(line) for line in path.read_bytes().splitlines()])


def timeline_of(notes: list[Note]) -> Timeline:
    """Sum up notes; those of each worker come in the order of time, a beginning and an end in turns."""
    of_worker: dict[int, list[Note]] = defaultdict(list)
    for note in notes:
        of_worker[note["pid"]].append(note)
    orders = [list(zip(own[::2], own[1::2], strict=True)) for own in of_worker.values()]
    end = max(note["time"] for note in notes)

    def mean_of(kind: str) -> Mean:
        found = [(begin, over) for own in orders for begin, over in own if over["what"] == kind]
        return Mean(
            len(found),
            mean(over["time"] - begin["time"] for begin, over in found),
            mean(over["processor"] - begin["processor"] for begin, over in found),
        )

    between = [begin["time"] - over["time"] for own in orders for (_, over), (begin, _) in pairwise(own)]
    return Timeline(
        len(orders),
        end - min(note["time"] for note in notes),
        mean_of("share done"),
        mean_of("split"),
        mean_of("done"),
        mean(between),
        mean(end - own[-1][1]["time"] for own in orders),
    )
