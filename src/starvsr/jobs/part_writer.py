"""From enlarged frames to finished parts: cut where the plan says, encoded, recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from starvsr.engine.render import Pixels
from starvsr.jobs.part_plan import PlannedPart
from starvsr.jobs.state import PartRecord
from starvsr.video.parts.part_writer import PartWriter


class PartLog(Protocol):
    """Opens part files and records the finished ones."""

    def part_writer(self, index: int) -> PartWriter:
        """Begin a part."""
        ...

    def part_done(self, record: PartRecord) -> None:
        """Record that a part is finished."""
        ...


class PartSink:
    """Takes the frames of neighbouring parts and writes each part into its file.

    Args:
        log: Opens part files and records the finished ones.
        parts: The parts, in order.
    """

    def __init__(self, log: PartLog, parts: Iterable[PlannedPart]) -> None:
        self._log = log
        self._waiting = deque(parts)
        self._writer: PartWriter | None = None
        self._num_frames = 0  # of the part that is open

    @property
    def is_complete(self) -> bool:
        """Whether all parts are finished."""
        return not self._waiting

    def write(self, pixels: Pixels, pts: int, duration: int) -> None:
        """Take the next frame."""
        part = self._waiting[0]
        if self._writer is None:
            self._writer = self._log.part_writer(part.index)
            self._num_frames = part.num_frames
        self._writer.write(pixels, pts, duration)
        if self._writer.num_frames == self._num_frames:
            facts = self._writer.close()
            self._writer = None
            self._waiting.popleft()
            self._log.part_done(PartRecord(part.index, part.start, part.stop, facts))

    def abort(self) -> None:
        """Throw the open part away."""
        if self._writer is not None:
            self._writer.abort()
