"""The plan of a job's segments and parts, complete before work begins. Arithmetic only: frames are numbers here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from starvsr.engine.chunk_plan import ChunkPlan
from starvsr.engine.segments import Segment, plan_segments


@dataclass(frozen=True)
class PlannedPart:
    """One part: frames [start, stop), made from segments [first_segment, stop_segment).

    With a cross-fade, its first frames are blended with the segment before ``first_segment``.
    """

    index: int
    start: int
    stop: int
    first_segment: int
    stop_segment: int

    @property
    def num_frames(self) -> int:
        """Frames in it."""
        return self.stop - self.start


@dataclass(frozen=True)
class PartPlan:
    """Segments and parts of a job.

    They follow from the input, the options and the chunk plan: never from who renders, in what order, or how often
    the job was interrupted.

    Args:
        num_frames: Frames of the input, counted.
        cuts: Frames at which shots begin, without the first.
        segments: All segments, in order.
        parts: All parts, in order.
        notes: What reading the input gave to tell the user.
    """

    num_frames: int
    cuts: tuple[int, ...]
    segments: tuple[Segment, ...]
    parts: tuple[PlannedPart, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of segments and parts."""
        entries = (self.num_frames, self.cuts, [astuple(s) for s in self.segments], [astuple(p) for p in self.parts])
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()

    @classmethod
    def of(
        cls, num_frames: int, cuts: Iterable[int], chunks: ChunkPlan, part_frames: int, notes: Sequence[str] = ()
    ) -> PartPlan:
        """Plan a job.

        Args:
            num_frames: Frames of the input.
            cuts: Frames at which shots begin.
            chunks: Length of segments, their context and cross-fade.
            part_frames: Frames from which on a part is closed.
            notes: What reading the input gave to tell the user.
        """
        starts = tuple(sorted(cuts))
        segments = plan_segments(
            num_frames,
            chunks.length,
            chunks.overlap,
            chunks.crossfade,
            starts,
            chunks.overlap_after,
            chunks.multiple,
        )
        return cls(num_frames, starts, tuple(segments), tuple(plan_parts(segments, part_frames)), tuple(notes))

    def stretch(self, first: int, stop: int) -> tuple[Segment, ...]:
        """Return the segments that parts [first, stop) are made from, one to blend with among them."""
        begin = self.parts[first].first_segment
        if begin and self.segments[begin - 1].fade_after:
            begin -= 1
        return self.segments[begin : self.parts[stop - 1].stop_segment]


def plan_parts(segments: Sequence[Segment], part_frames: int) -> list[PlannedPart]:
    """Cut a video into parts, at borders of segments only.

    A part is closed when it has ``part_frames`` frames. At the end of a shot half of them are enough: the keyframe that
    begins the next part is needed there anyway.
    """
    parts: list[PlannedPart] = []
    start = first_segment = 0
    for segment in segments:
        enough = part_frames // (2 if segment.ends_shot else 1)
        is_last = segment.index + 1 == len(segments)
        if segment.final_stop - start >= enough or is_last:
            stop_segment = segment.index + 1
            parts.append(PlannedPart(len(parts), start, segment.final_stop, first_segment, stop_segment))
            start, first_segment = segment.final_stop, stop_segment
    return parts
