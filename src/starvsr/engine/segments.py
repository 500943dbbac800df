"""The cut in time: which frames are held and upscaled together, decided while the frames arrive.

The plan depends on the number of frames, the scene cuts and three numbers alone: not on workers, memory at
hand or interruptions. Index arithmetic only: no pixels, no torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Segment:
    """Frames [start, stop) to look at, of which [keep_start, keep_stop) are kept.

    The kept parts of all segments cover every frame exactly once. With a cross-fade, ``fade_before`` frames
    ahead of ``keep_start`` and ``fade_after`` frames from ``keep_stop`` on are kept as well, to be blended with
    the neighbour's. ``shot_start`` is the first frame of the shot, and ``ends_shot`` says whether this is its last
    segment.
    """

    index: int
    start: int
    stop: int
    keep_start: int
    keep_stop: int
    fade_before: int = 0
    fade_after: int = 0
    shot_start: int = 0
    ends_shot: bool = False

    @property
    def num_frames(self) -> int:
        """Frames that the network sees."""
        return self.stop - self.start

    @property
    def given_stop(self) -> int:
        """End of the frames that are settled once this segment is through: those behind it are still to be blended."""
        return self.keep_stop - self.fade_after

    @property
    def next(self) -> Position:
        """Where a stream can go on behind this segment.

        With a cross-fade, the segment itself is needed once more for the frames that it shares with the next.
        """
        if self.fade_after:
            return Position(self.given_stop, self.keep_start, self.shot_start, self.index)
        shot_start = self.keep_stop if self.ends_shot else self.shot_start
        return Position(self.keep_stop, self.keep_stop, shot_start, self.index + 1)


@dataclass(frozen=True)
class Position:
    """A place between two segments at which a stream can begin.

    Args:
        frame: The first frame to hand out.
        keep_start: The first frame that the next segment keeps.
        shot_start: The first frame of the shot that it belongs to.
        num_segments: Segments before it.
    """

    frame: int = 0
    keep_start: int = 0
    shot_start: int = 0
    num_segments: int = 0

    def first_needed(self, overlap: int) -> int:
        """Return the first frame that the next segment looks at."""
        return max(self.shot_start, self.keep_start - overlap)


class SegmentPlanner:
    """Cut a stream of frames into segments, never across a scene cut.

    Push one flag per frame; segments come out once they are certain, at most ``lookahead`` frames later.
    A shot of more than ``length`` frames is cut into pieces of ``length``; its last two pieces share what is
    left evenly, so no piece is a lone frame at the end of a shot.

    Args:
        length: Frames kept per segment.
        overlap: Frames of context on each side, inside the shot.
        crossfade: Frames over which neighbours are blended, at most ``2 * overlap``; odd ones are rounded down.
        begin: Where to begin; the first frame pushed is then ``begin.first_needed(overlap)``.
        overlap_after: Frames of context after a segment; None is ``overlap``.
    """

    def __init__(
        self,
        length: int,
        overlap: int = 0,
        crossfade: int = 0,
        begin: Position | None = None,
        overlap_after: int | None = None,
    ) -> None:
        after = overlap if overlap_after is None else overlap_after
        shared = min(overlap, after)
        if length < 1 or shared < 0 or not 0 <= crossfade <= min(2 * shared, longest_crossfade(length)):
            raise ValueError("length >= 1, overlap >= 0, crossfade <= 2 * overlap and half a piece are needed")
        self.length = length
        self.overlap = overlap
        self.overlap_after = after
        self.half_fade = crossfade // 2
        begin = begin or Position()
        self.first_frame = begin.first_needed(overlap)
        self._shot_start = begin.shot_start
        self._position = begin.keep_start  # first frame of the shot that no segment keeps yet
        self._num_seen = self.first_frame
        self._num_segments = begin.num_segments

    @property
    def lookahead(self) -> int:
        """Frames beyond ``keep_start`` that must have arrived before a segment in mid-shot is certain."""
        return max(2 * self.length, self.length + self.overlap_after)

    def push(self, is_cut: bool) -> list[Segment]:
        """Take the next frame (``is_cut``: a new shot begins with it) and return the segments now certain."""
        ready = self._close_shot() if is_cut and self._num_seen > self._shot_start else []
        self._num_seen += 1
        if self._num_seen - self._position > self.lookahead:
            ready.append(self._segment(self.length, shot_stop=None))
        return ready

    def finish(self) -> list[Segment]:
        """Return the last segments: no more frames come."""
        return self._close_shot()

    def _close_shot(self) -> list[Segment]:
        stop = self._num_seen
        segments = []
        while self._position < stop:
            left = stop - self._position
            keep = left if left <= self.length else self.length if left >= 2 * self.length else -(-left // 2)
            segments.append(self._segment(keep, shot_stop=stop))
        self._shot_start = self._position = stop
        return segments

    def _segment(self, keep: int, shot_stop: int | None) -> Segment:
        keep_start, keep_stop = self._position, self._position + keep
        stop = keep_stop + self.overlap_after
        stop = stop if shot_stop is None else min(stop, shot_stop)
        segment = Segment(
            index=self._num_segments,
            start=max(self._shot_start, keep_start - self.overlap),
            stop=stop,
            keep_start=keep_start,
            keep_stop=keep_stop,
            fade_before=self.half_fade if keep_start > self._shot_start else 0,
            fade_after=self.half_fade if keep_stop != shot_stop else 0,
            shot_start=self._shot_start,
            ends_shot=keep_stop == shot_stop,
        )
        self._position = keep_stop
        self._num_segments += 1
        return segment


def longest_crossfade(length: int) -> int:
    """Return the longest cross-fade that has room at both ends of the shortest piece of a shot."""
    return 2 * ((length + 1) // 4)  # the shortest piece is (length + 1) // 2


def plan_segments(
    num_frames: int, length: int, overlap: int = 0, crossfade: int = 0, cuts: Iterable[int] = ()
) -> list[Segment]:
    """Return the segments of a video whose length is known; ``cuts`` are the first frames of shots."""
    planner = SegmentPlanner(length, overlap, crossfade)
    starts = set(cuts)
    segments = [segment for index in range(num_frames) for segment in planner.push(index in starts)]
    return segments + planner.finish()


def group_frames(frames: Iterable[tuple[Item, bool]], planner: SegmentPlanner) -> Iterator[tuple[Segment, list[Item]]]:
    """Yield each segment with its frames [start, stop), holding no more frames than the planner looks ahead.

    Args:
        frames: Frames in order, each with whether a new shot begins with it.
        planner: A fresh planner; the first frame is its ``first_frame``.
    """
    held: deque[Item] = deque()
    first = planner.first_frame  # index of the first frame held

    def hand_out(segments: list[Segment]) -> Iterator[tuple[Segment, list[Item]]]:
        nonlocal first
        for segment in segments:
            yield segment, [held[i - first] for i in range(segment.start, segment.stop)]
            oldest_needed = max(segment.start, segment.keep_stop - planner.overlap)
            while first < oldest_needed:
                held.popleft()
                first += 1

    for frame, is_cut in frames:
        ready = planner.push(is_cut)
        held.append(frame)
        yield from hand_out(ready)
    yield from hand_out(planner.finish())
