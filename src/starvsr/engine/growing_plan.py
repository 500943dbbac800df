"""The plan of segments while frames arrive: the one that `plan_segments` makes when all of them are known.

A piece of a shot has the full length when at least twice as many frames are left; so a segment is settled when
``2 * length`` frames from its first one on are there (or those of its context), or the shot has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.segments import Segment, piece_length, segment_of_shot

Item = TypeVar("Item")


def frames_ahead(plan: ChunkPlan) -> int:
    """Return how many frames must follow a frame, at most, before the segment that keeps it can be rendered."""
    return _wanted(plan) - 1


def _wanted(plan: ChunkPlan) -> int:
    """Frames from the first one of a segment on that settle it."""
    return max(2 * plan.length, plan.length + _after(plan))


def _after(plan: ChunkPlan) -> int:
    return plan.overlap if plan.overlap_after is None else plan.overlap_after


def group_as_they_come(frames: Iterable[tuple[Item, bool]], plan: ChunkPlan) -> Iterator[tuple[Segment, list[Item]]]:
    """Yield each segment with its frames [start, stop) as soon as it is settled.

    Args:
        frames: Each frame in order, and whether it is the first of a shot.
        plan: Length of segments, their context and cross-fade.
    """
    growing = _GrowingPlan[Item](plan)
    for frame, is_cut in frames:
        if is_cut:
            yield from growing.end_shot()
        yield from growing.add(frame)
    yield from growing.end_shot()


class _GrowingPlan(Generic[Item]):
    """The frames that are still needed, and where the next segment begins."""

    def __init__(self, plan: ChunkPlan) -> None:
        self._plan = plan
        self._wanted = _wanted(plan)
        self._held: deque[Item] = deque()
        self._first = 0  # index of the first frame held
        self._next = 0  # first frame that no segment keeps yet
        self._shot_start = 0
        self._num_segments = 0

    def add(self, frame: Item) -> Iterator[tuple[Segment, list[Item]]]:
        """Take the next frame."""
        self._held.append(frame)
        if self._end - self._next >= self._wanted:
            yield self._made(self._plan.length, self._end)

    def end_shot(self) -> Iterator[tuple[Segment, list[Item]]]:
        """Make segments of all that is left: the next frame begins another shot, or there is none."""
        end, plan = self._end, self._plan
        while self._next < end:
            yield self._made(piece_length(end - self._next, plan.length, plan.multiple, plan.crossfade), end)
        self._held.clear()
        self._first = self._shot_start = end

    @property
    def _end(self) -> int:
        return self._first + len(self._held)

    def _made(self, count: int, shot_stop: int) -> tuple[Segment, list[Item]]:
        plan = self._plan
        kept, shot = range(self._next, self._next + count), range(self._shot_start, shot_stop)
        segment = segment_of_shot(self._num_segments, kept, shot, plan.overlap, _after(plan), plan.crossfade)
        members = [self._held[index - self._first] for index in range(segment.start, segment.stop)]
        self._num_segments += 1
        self._next = kept.stop
        while self._first < self._next - plan.overlap and self._held:
            self._held.popleft()
            self._first += 1
        return segment, members
