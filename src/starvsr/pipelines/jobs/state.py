"""What of a job is finished, as its journal says. Knows no video: frames are numbers here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from starvsr.pipelines.jobs.folder import JobFolder
from starvsr.pipelines.jobs.journal import Record
from starvsr.pipelines.segments import Position
from starvsr.video.output_files import file_sha256
from starvsr.video.parts import PartFacts


@dataclass(frozen=True)
class PartRecord:
    """A finished part.

    Args:
        index: Its number.
        start: Its first frame.
        stop: The first frame behind it.
        next: Where the stream goes on behind it.
        cuts: Frames at which shots begin, of the segments in it.
        facts: Of its file.
    """

    index: int
    start: int
    stop: int
    next: Position
    cuts: tuple[int, ...]
    facts: PartFacts

    def as_record(self) -> Record:
        """Turn into plain values."""
        return {"kind": "part", **asdict(self)}

    @classmethod
    def from_record(cls, record: Record) -> PartRecord:
        """Turn back."""
        return cls(
            index=record["index"],
            start=record["start"],
            stop=record["stop"],
            next=Position(**record["next"]),
            cuts=tuple(record["cuts"]),
            facts=PartFacts(**record["facts"]),
        )


@dataclass(frozen=True)
class Gap:
    """Parts that are to be made.

    Args:
        index: Number of the first.
        begin: Where the stream begins.
        stop: The first frame that is there again; None when nothing comes behind.
        stop_index: Number of the part that it belongs to.
    """

    index: int
    begin: Position
    stop: int | None = None
    stop_index: int | None = None


class JobState:
    """What is finished.

    Args:
        records: The journal's.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.parts: dict[int, PartRecord] = {}
        self.end: Record | None = None
        self.published: str | None = None
        self.plan_digest: str | None = None
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        kind = record.get("kind")
        if kind == "plan":
            self.plan_digest = record["digest"]
        elif kind == "part":
            self.add(PartRecord.from_record(record))
        elif kind == "lost":
            self.parts.pop(record["index"], None)
        elif kind == "end":
            self.end = record
        elif kind == "whole":
            self.published = record["sha256"]

    def add(self, part: PartRecord) -> None:
        """Count a part as finished."""
        self.parts[part.index] = part

    @property
    def num_frames(self) -> int:
        """Frames in finished parts."""
        return sum(part.facts.num_frames for part in self.parts.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of finished parts."""
        return sum(part.facts.size for part in self.parts.values())

    @property
    def cuts(self) -> frozenset[int]:
        """Frames at which shots begin, as far as is known."""
        return frozenset(cut for part in self.parts.values() for cut in part.cuts)

    @property
    def in_order(self) -> list[PartRecord]:
        """The finished parts in the order of frames."""
        return [self.parts[index] for index in sorted(self.parts)]

    def first_gap(self) -> Gap | None:
        """Return the first parts that are missing; None when all is there."""
        index = 0
        while index in self.parts:
            index += 1
        if self.end is not None and index == self.end["num_parts"]:
            return None
        begin = self.parts[index - 1].next if index else Position()
        later = [number for number in self.parts if number > index]
        if not later:
            return Gap(index, begin)
        return Gap(index, begin, self.parts[min(later)].start, min(later))

    def damaged_parts(self, folder: JobFolder) -> list[int]:
        """Return the numbers of finished parts whose files are not as they were written."""
        return [index for index, part in sorted(self.parts.items()) if not _is_whole(folder, part)]


def _is_whole(folder: JobFolder, part: PartRecord) -> bool:
    file = folder.part(part.index)
    try:
        return file.stat().st_size == part.facts.size and file_sha256(file) == part.facts.sha256
    except OSError:
        return False


def end_record(num_parts: int, num_frames: int, notes: list[str]) -> dict[str, Any]:
    """Make the record that says: the input is read to its end."""
    return {"kind": "end", "num_parts": num_parts, "num_frames": num_frames, "notes": notes}
