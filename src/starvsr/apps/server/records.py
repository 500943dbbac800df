"""What is kept of uploads and jobs. Plain data."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal

State = Literal["checking", "queued", "running", "paused", "done", "failed", "cancelled"]
UNFINISHED: tuple[State, ...] = ("checking", "queued", "running", "paused")
WAITING: tuple[State, ...] = ("checking", "queued", "running")
_JSON = ("options", "facts", "result", "notes", "preview")


@dataclass(frozen=True)
class Upload:
    """A file that a user sends, in one or more pieces; how much of it has come is the size of the file on the disk.

    Attributes:
        id: Its number, 24 hexadecimal digits.
        user: Who sends it.
        name: What the user calls it; shown and never used as a path.
        suffix: The suffix of its file, with a dot, or "".
        size: Bytes in all.
        created: Seconds since the epoch.
    """

    id: str
    user: str
    name: str
    suffix: str
    size: int
    created: float = field(default_factory=time.time)


@dataclass(frozen=True)
class JobRecord:
    """A job.

    Attributes:
        id: Its number, 24 hexadecimal digits.
        user: Whose it is.
        name: What the user calls the input.
        upload: The upload that is its input, or None.
        source: The path of its input.
        container: Suffix of the output, with a dot.
        options: What the user asked for, by name.
        state: Where it is.
        created: Seconds since the epoch.
        started: When a worker first took it.
        finished: When it ended, or paused.
        message: Why it failed, in one line.
        facts: Of the input.
        result: Of the output.
        notes: Sentences that the user should read.
        num_crashes: How often its worker died.
        num_bytes: Of the output, estimated until it is there.
        preview: Of a look before the work: ``at`` in seconds, and ``count`` or ``seconds``; empty for a whole job.
    """

    id: str
    user: str
    name: str
    upload: str | None
    source: str
    container: str
    options: dict[str, Any]
    state: State = "checking"
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    message: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    num_crashes: int = 0
    num_bytes: int = 0
    preview: dict[str, Any] = field(default_factory=dict)

    @property
    def is_preview(self) -> bool:
        """Whether it looks at a few frames or seconds and writes no result."""
        return bool(self.preview)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state not in UNFINISHED


def columns(kind: type) -> list[str]:
    """Return the names of the columns of a table."""
    return [f.name for f in fields(kind)]


def to_row(record: Upload | JobRecord) -> list[Any]:
    """Return a record as values of columns."""
    values = [(name, getattr(record, name)) for name in columns(type(record))]
    return [json.dumps(value) if name in _JSON else value for name, value in values]


def from_row(kind: type, row: tuple[Any, ...]) -> Any:
    """Return the record of a row."""
    named = zip(columns(kind), row, strict=True)
    return kind(**{name: json.loads(value) if name in _JSON else value for name, value in named})
