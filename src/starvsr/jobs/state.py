"""What of a job is finished, according to its journal. Knows no video: frames are numbers here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

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
        facts: Of its file.
    """

    index: int
    start: int
    stop: int
    facts: PartFacts

    def as_record(self) -> Record:
        """Return plain values for the journal."""
        return {"kind": "part", **asdict(self)}

    @classmethod
    def from_record(cls, record: Record) -> PartRecord:
        """Return the part of a record."""
        return cls(record["index"], record["start"], record["stop"], PartFacts(**record["facts"]))


class JobState:
    """What is finished.

    Args:
        records: The journal's.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.parts: dict[int, PartRecord] = {}
        self.moved: dict[int, Where] = {}  # of those that lie in the joined file alone
        self.moov_bytes: int | None = None  # for the index of the joined file; None while nothing is joined
        self.comment: str | None = None  # digest of the text that is written into it
        self.end: Record | None = None
        self.published: str | None = None
        self.plan_digest: str | None = None
        self.part_plan_digest: str | None = None
        self.photos: dict[str, Record] = {}  # of a folder of photos, by name
        self.captions: list[Record] = []  # what commands said on the input, or on photos
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        kind = record.get("kind")
        if kind == "plan":
            self.plan_digest = record["digest"]
        elif kind == "part plan":
            self.part_plan_digest = record["digest"]
        elif kind == "part":
            self.add(PartRecord.from_record(record))
        elif kind == "lost":
            self.lose(record["index"])
        elif kind == "join":
            self.moov_bytes, self.comment = record["moov_bytes"], record["comment"]
        elif kind == "moved":
            if record["index"] in self.parts:  # else its line is spoiled, and it is made again
                self.moved[record["index"]] = record["where"]
        elif kind == "apart":
            self.moov_bytes = None
            self.moved.clear()
        elif kind == "end":
            self.end = record
        elif kind == "photo":
            self.photos[record["name"]] = record
        elif kind == "caption":
            self.captions.append(record)
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
    def in_order(self) -> list[PartRecord]:
        """The finished parts in the order of frames."""
        return [self.parts[index] for index in sorted(self.parts)]

    @property
    def is_complete(self) -> bool:
        """Whether all parts are finished."""
        return self.end is not None and not self.gaps(self.end["num_parts"])

    def gaps(self, num_parts: int) -> list[range]:
        """Return the runs of parts that are missing, of so many in all."""
        gaps: list[range] = []
        for index in range(num_parts):
            if index in self.parts:
                continue
            if gaps and gaps[-1].stop == index:
                gaps[-1] = range(gaps[-1].start, index + 1)
            else:
                gaps.append(range(index, index + 1))
        return gaps


def end_record(num_parts: int, num_frames: int, notes: list[str]) -> dict[str, Any]:
    """Make the record that says that all parts are finished."""
    return {"kind": "end", "num_parts": num_parts, "num_frames": num_frames, "notes": notes}
