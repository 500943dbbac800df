"""What of a job is finished, as its journal says. Knows no video: frames are numbers here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from starvsr.engine.segments import Position
from starvsr.jobs.journal import Record
from starvsr.video.parts.join_file import Where
from starvsr.video.parts.part_file import PartFacts


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
        self.moved: dict[int, Where] = {}  # of those that lie in the joined file alone
        self.room: int | None = None  # for the index of the joined file; None while nothing is joined
        self.comment: str | None = None  # digest of the text that is written into it
        self.end: Record | None = None
        self.published: str | None = None
        self.plan_digest: str | None = None
        self.photos: dict[str, Record] = {}  # of a folder of photos, by name
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        kind = record.get("kind")
        if kind == "plan":
            self.plan_digest = record["digest"]
        elif kind == "part":
            self.add(PartRecord.from_record(record))
        elif kind == "lost":
            self.lose(record["index"])
        elif kind == "join":
            self.room, self.comment = record["room"], record["comment"]
        elif kind == "moved":
            self.moved[record["index"]] = record["where"]
        elif kind == "apart":
            self.room = None
            self.moved.clear()
        elif kind == "end":
            self.end = record
        elif kind == "photo":
            self.photos[record["name"]] = record
        elif kind == "whole":
            self.published = record["sha256"]

    def add(self, part: PartRecord) -> None:
        """Count a part as finished, in a file of its own."""
        self.parts[part.index] = part
        self.moved.pop(part.index, None)

    def lose(self, index: int) -> None:
        """Count a part as not finished."""
        self.parts.pop(index, None)
        self.moved.pop(index, None)

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


def end_record(num_parts: int, num_frames: int, notes: list[str]) -> dict[str, Any]:
    """Make the record that says: the input is read to its end."""
    return {"kind": "end", "num_parts": num_parts, "num_frames": num_frames, "notes": notes}
