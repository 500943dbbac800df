"""Which frames DOVER looks at, drawn while a clip of unknown length is read once.

The published sampler knows the number of frames and draws indices. Here the same distributions come from one pass:

- a run of frames for the technical view begins anywhere with equal probability (reservoir sampling of runs);
- one frame of each of 32 equal segments for the aesthetic view: every frame gets a random priority, and the lowest of a
  segment is the one; frames that can be the lowest of no segment any more, however long the clip will be, are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from starvsr.metrics.metric import ByteArray

CLIP_FRAMES, INTERVAL = 32, 2
SPAN = CLIP_FRAMES * INTERVAL
_FIRST_PRUNING = 128


class RunSampler:
    """A run of 32 frames, every second one, with a uniformly drawn beginning.

    Of a clip of N > 64 frames the run begins at 0 to N - 65. Shorter ones are walked through from the first frame;
    indices wrap around modulo N.

    Args:
        rng: draws.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._count = 0
        self._first: list[ByteArray] = []
        self._begun: dict[int, list[ByteArray]] = {}
        self._chosen: list[ByteArray] = []

    def take(self, view: Callable[[], ByteArray]) -> None:
        """Take the next frame.

        Args:
            view: makes what is kept of it; called only if it may be needed.
        """
        now = self._count
        self._count += 1
        self._chosen = self._begun.pop(now - SPAN, self._chosen)  # its beginning has become a possible one
        if self._rng.random() * (now + 1) < 1:
            self._begun[now] = []
        running = [run for begin, run in self._begun.items() if (now - begin) % INTERVAL == 0 and now - begin < SPAN]
        if now >= SPAN:
            self._first = []
        if running or now < SPAN:
            made = view()
            for run in running:
                run.append(made)
            if now < SPAN:
                self._first.append(made)

    def frames(self) -> list[ByteArray]:
        """Return the 32 frames; empty if there was no frame."""
        if self._count > SPAN:
            return self._chosen
        return [self._first[index % self._count] for index in range(0, SPAN, INTERVAL)] if self._count else []


@dataclass(frozen=True)
class _Candidate:
    index: int
    priority: float
    view: ByteArray


class SegmentSampler:
    """One frame of each of 32 equal segments.

    Segments of a clip of N frames have L = N // 32 frames; the frame is uniform among the first L - 2 of a segment, and
    the first where L is at most 2 (of clips below 32 frames that is the first frame, 32 times).

    Args:
        rng: draws.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._count = 0
        self._kept: list[_Candidate] = []
        self._limit = _FIRST_PRUNING

    @property
    def num_kept(self) -> int:
        """How many frames are held."""
        return len(self._kept)

    def take(self, view: Callable[[], ByteArray]) -> None:
        """Take the next frame.

        Args:
            view: makes what is kept of it.
        """
        self._kept.append(_Candidate(self._count, self._rng.random(), view()))
        self._count += 1
        if len(self._kept) >= self._limit:
            self._prune()
            self._limit = max(_FIRST_PRUNING, len(self._kept) + _FIRST_PRUNING // 2)

    def frames(self) -> list[ByteArray]:
        """Return the 32 frames; empty if there was no frame."""
        if not self._count:
            return []
        length = self._count // CLIP_FRAMES
        found = []
        for begin in range(0, length * CLIP_FRAMES, length) if length else [0] * CLIP_FRAMES:
            end = begin + max(length - INTERVAL, 1)
            found.append(min((one for one in self._kept if begin <= one.index < end), key=lambda one: one.priority))
        return [one.view for one in found]

    def _prune(self) -> None:
        """Drop the frames that will be the lowest of no segment, whatever the length of the clip."""
        indices = np.array([one.index for one in self._kept])
        before, after = _lower_neighbours(indices, [one.priority for one in self._kept])
        needed = can_be_lowest(indices, before, after, self._count // CLIP_FRAMES)
        self._kept = [one for one, keep in zip(self._kept, needed, strict=True) if keep]


def can_be_lowest(
    indices: npt.NDArray[np.int64],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.float64],
    least_length: int,
) -> npt.NDArray[np.bool_]:
    """Tell which frames may be the lowest of a segment of a clip that goes on for any number of frames.

    Frame t is the lowest of segment i of length L if ``before < i L <= t <= i L + L - 3 < after``. For each i that
    is an interval of lengths, so it is enough to see whether it holds an integer.

    Args:
        indices: of frames, [K].
        before: index of the nearest frame before with a lower priority, -1 for none.
        after: index of the nearest one after, infinite for none.
        least_length: the segments' length if the clip ended here; lengths of more than 2 frames are looked at.

    Returns:
        bool [K].
    """
    t, b, a = indices[:, None], before[:, None], after[:, None]
    i = np.arange(1, CLIP_FRAMES)[None]
    shortest = np.maximum(np.maximum(b // i + 1, -(-(t + 1 + INTERVAL) // (i + 1))), max(least_length, INTERVAL + 1))
    longest = np.minimum(t // i, np.ceil((a + 1 + INTERVAL) / (i + 1)) - 1)
    is_of_a_later_one = (shortest <= longest).any(axis=1)
    is_of_the_first = (before < 0) & (np.maximum(indices + 1 + INTERVAL, least_length) < after + 1 + INTERVAL)
    return np.asarray(is_of_a_later_one | is_of_the_first)


def _lower_neighbours(
    indices: npt.NDArray[np.int64], priorities: list[float]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the index of the nearest frame with a lower priority before and after each one."""
    before, after = np.full(len(indices), -1), np.full(len(indices), math.inf)
    rising: list[int] = []  # positions whose priorities rise: the stack of what a later one may be higher than
    for place, priority in enumerate(priorities):
        while rising and priorities[rising[-1]] > priority:
            after[rising.pop()] = indices[place]
        if rising:
            before[place] = indices[rising[-1]]
        rising.append(place)
    return before, after
