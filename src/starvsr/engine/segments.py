"""The cut in time: which frames are held and upscaled together.

Segments follow from the number of frames, the scene cuts and four numbers alone: not from workers, memory at
hand or interruptions. Index arithmetic only: no pixels, no torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starvsr.errors import InputError

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
    def num_made(self) -> int:
        """Frames that are made of it: those that are kept, and its cross-fades."""
        return self.fade_before + self.keep_stop - self.keep_start + self.fade_after

    @property
    def final_stop(self) -> int:
        """End of the frames that are final with this segment: those behind it are still to be blended."""
        return self.keep_stop - self.fade_after


def longest_crossfade(length: int) -> int:
    """Return the longest cross-fade that fits at both ends of the shortest piece of a shot."""
    return 2 * ((length + 1) // 4)  # the shortest piece is (length + 1) // 2


def plan_segments(
    num_frames: int,
    length: int,
    overlap: int = 0,
    crossfade: int = 0,
    cuts: Iterable[int] = (),
    overlap_after: int | None = None,
    multiple: int = 1,
) -> list[Segment]:
    """Cut a video into segments, never across a scene cut.

    A shot of more than ``length`` frames is cut into pieces of ``length``; its last two pieces share what is left
    evenly, so no piece is a lone frame at the end of a shot.

    Args:
        num_frames: Frames of the video.
        length: Frames kept per segment.
        overlap: Frames of context on each side, inside the shot.
        crossfade: Frames over which neighbours are blended, at most twice the shorter context; odd ones are rounded
            down.
        cuts: First frames of shots.
        overlap_after: Frames of context after a segment; None is ``overlap``.
        multiple: Frames that the model sees as one, counted from the start of a shot; where a shot's last two pieces
            share what is left, they are cut between two of these.

    Raises:
        ValueError: The numbers do not fit each other.
    """
    after = overlap if overlap_after is None else overlap_after
    shared = min(overlap, after)
    if length < 1 or shared < 0 or not 0 <= crossfade <= min(2 * shared, longest_crossfade(length)):
        raise ValueError("length >= 1, overlap >= 0, crossfade <= 2 * overlap and half a piece are needed")
    starts = sorted({0, *(cut for cut in cuts if 0 < cut < num_frames)})
    segments: list[Segment] = []
    for shot_start, shot_stop in zip(starts, [*starts[1:], num_frames], strict=True):
        keep_start = shot_start
        while keep_start < shot_stop:
            keep_stop = keep_start + piece_length(shot_stop - keep_start, length, multiple, crossfade)
            kept, shot = range(keep_start, keep_stop), range(shot_start, shot_stop)
            segments.append(segment_of_shot(len(segments), kept, shot, overlap, after, crossfade))
            keep_start = keep_stop
    return segments


def segment_of_shot(index: int, kept: range, shot: range, overlap: int, after: int, crossfade: int) -> Segment:
    """Return the segment that keeps a piece of a shot.

    Args:
        index: Its number.
        kept: The frames that it keeps.
        shot: The frames of the shot; its end may be one that is at least ``after`` frames behind the piece.
        overlap: Frames of context before it.
        after: Frames of context after it.
        crossfade: Frames over which neighbours are blended.
    """
    return Segment(
        index=index,
        start=max(shot.start, kept.start - overlap),
        stop=min(shot.stop, kept.stop + after),
        keep_start=kept.start,
        keep_stop=kept.stop,
        fade_before=crossfade // 2 if kept.start > shot.start else 0,
        fade_after=crossfade // 2 if kept.stop < shot.stop else 0,
        shot_start=shot.start,
        ends_shot=kept.stop == shot.stop,
    )


def piece_length(left: int, length: int, multiple: int, crossfade: int) -> int:
    """Return the length of the next piece of a shot of which ``left`` frames are left.

    From ``2 * length`` frames on it does not depend on how many there are.
    """
    if left <= length:
        return left
    if left >= 2 * length:
        return length
    half = -(-left // 2)
    even = min(half + -half % multiple, length)
    return even if left - even >= max(crossfade, 1) else half


def group_frames(frames: Iterable[Item], segments: Sequence[Segment]) -> Iterator[tuple[Segment, list[Item]]]:
    """Yield each segment with its frames [start, stop), holding no more frames than that.

    Args:
        frames: Frames in order; the first one is that of index ``segments[0].start``.
        segments: Neighbours, in order.

    Raises:
        InputError: There are fewer frames than the segments need.
    """
    source = iter(frames)
    held: deque[Item] = deque()
    first = segments[0].start if segments else 0  # index of the first frame held
    for number, segment in enumerate(segments):
        while first + len(held) < segment.stop:
            try:
                held.append(next(source))
            except StopIteration:
                raise InputError(
                    f"the input ended after {first + len(held)} frames, and more were found when the job was planned: "
                    "it changed, or its decoder gives other frames each time"
                ) from None
        yield segment, [held[index - first] for index in range(segment.start, segment.stop)]
        needed = segments[number + 1].start if number + 1 < len(segments) else segment.stop
        while first < needed:
            held.popleft()
            first += 1
