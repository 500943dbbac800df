"""From finished frames to finished parts: cut at borders of segments, encoded, written down."""

from __future__ import annotations

from typing import Protocol

from starvsr.engine.render import Pixels
from starvsr.engine.segments import Position, Segment
from starvsr.jobs.state import Gap, PartRecord
from starvsr.video.parts.part_writer import PartWriter


class PartLog(Protocol):
    """Opens part files and records the finished ones."""

    @property
    def part_frames(self) -> int:
        """Frames from which on a part is closed."""
        ...

    def part_writer(self, index: int) -> PartWriter:
        """Begin a part."""
        ...

    def part_done(self, record: PartRecord) -> None:
        """Record that a part is finished."""
        ...


class PartSink:
    """Takes finished frames and cuts them into parts, at borders of segments only."""

    def __init__(self, log: PartLog, gap: Gap) -> None:
        self._log = log
        self._index = gap.index
        self._start = self._stop = gap.begin.frame
        self._next: Position = gap.begin
        self._cuts: list[int] = []
        self._writer: PartWriter | None = None

    @property
    def reached(self) -> tuple[int, int]:
        """The first frame and the number of the part that would come next."""
        return self._start, self._index

    def write(self, pixels: Pixels, pts: int, duration: int) -> None:
        """Take the next frame."""
        if self._writer is None:
            self._writer = self._log.part_writer(self._index)
        self._writer.write(pixels, pts, duration)
        self._stop += 1

    def border(self, segment: Segment) -> None:
        """Take note that a segment ends here; close the part when it is long enough.

        At the end of a shot half the length is enough: the keyframe that begins the next part is needed there anyway.
        """
        self._next = segment.next
        if segment.keep_start == segment.shot_start > 0:
            self._cuts.append(segment.shot_start)
        enough = self._log.part_frames // (2 if segment.ends_shot else 1)
        if self._stop - self._start >= enough:
            self.finish()

    def finish(self) -> None:
        """Close the part that is open, if any."""
        if self._writer is None:
            return
        facts = self._writer.close()
        self._writer = None
        record = PartRecord(self._index, self._start, self._stop, self._next, tuple(self._cuts), facts)
        self._log.part_done(record)
        self._index += 1
        self._start = self._stop
        self._cuts = []

    def abort(self) -> None:
        """Throw the open part away."""
        if self._writer is not None:
            self._writer.abort()
