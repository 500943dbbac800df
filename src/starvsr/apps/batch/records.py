"""The record of a clip: one JSON file in the destination, which the next run begins from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Literal

from starvsr.apps.batch.clips import RECORDS, Clip, record_of
from starvsr.apps.batch.locations import Location
from starvsr.version import __version__

FORMAT = 1
State = Literal["waiting", "done", "failed"]
_THREADS = 8


@dataclass(frozen=True)
class Record:
    """What became of a clip.

    Args:
        id: `Clip.id`: other input, output or options make another clip.
        input: Its address.
        output: The address of the result.
        options: Its options.
        state: "waiting" after a failed try, "done", or "failed" when it is given up.
        tries: How often it was tried, the last time included; interruptions from outside are not counted.
        error: Why the last try failed.
        seconds: Time of the successful try, by step: fetch, upscale, measure, deliver.
        sha256: Of the result. Where the state is "done", it was read back from the destination; else, of what was
            about to be delivered.
        num_bytes: Its size.
        num_frames: Its frames.
        width: Its width in pixels.
        height: Its height in pixels.
        figures: What was measured on it, by metric; None where a metric has no value.
        review: Why somebody should look at it; empty when nothing speaks for that.
        notes: Sentences on how it was made.
        device: What it was computed on: bytes are the same on devices of one kind.
        software: The version that made it.
        model: The model and the digest of its weights.
        finished: When the record was written, UTC.
    """

    id: str
    input: str
    output: str
    options: dict[str, Any]
    state: State
    tries: int
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    sha256: str | None = None
    num_bytes: int | None = None
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    figures: dict[str, float | None] = field(default_factory=dict)
    review: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    device: str | None = None
    software: str = f"starvsr {__version__}"
    model: str | None = None
    finished: str = ""

    @classmethod
    def of(cls, clip: Clip, destination: Location, state: State, tries: int, **values: Any) -> Record:
        """Make the record of a clip."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        address = str(destination.join(clip.output))
        return cls(clip.id, clip.input, address, clip.options, state, tries, finished=now, **values)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"format": FORMAT, **asdict(self)}

    def write(self, clip: Clip, destination: Location) -> None:
        """Write it into the destination.

        Raises:
            TransferError, OutputError: It cannot be written.
        """
        record_of(destination, clip.output).write_json(self.as_dict())


@dataclass(frozen=True)
class Standing:
    """What the next run needs of a record."""

    output: str
    id: str
    state: State
    tries: int
    error: str | None
    num_frames: int
    is_for_review: bool


def read_standings(destination: Location) -> Iterator[Standing]:
    """Yield where the clips of earlier runs stand; records that are no longer as they were written count as missing.

    Raises:
        TransferError: The destination cannot be reached.
    """
    folder = destination.join(f"{RECORDS}/clips")
    names = (name for name in folder.files() if name.endswith(".json"))
    if folder.is_local:
        yield from (found for name in names if (found := _standing(folder, name)) is not None)
        return
    with ThreadPoolExecutor(_THREADS * 2) as pool:
        yield from (found for found in pool.map(lambda name: _standing(folder, name), names) if found is not None)


def read_record(clip: Clip, destination: Location) -> Record | None:
    """Read the record of a clip; None when there is none that was written for this input, output and options.

    Raises:
        TransferError: The destination cannot be reached.
    """
    try:
        values = json.loads(record_of(destination, clip.output).read())
        if values.pop("format") != FORMAT:
            return None
        record = Record(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if record.id == clip.id else None


def _standing(folder: Location, name: str) -> Standing | None:
    try:
        values = json.loads(folder.join(name).read())
        if values["format"] != FORMAT or values["state"] not in ("waiting", "done", "failed"):
            return None
        return Standing(
            name.removesuffix(".json"),
            str(values["id"]),
            values["state"],
            int(values["tries"]),
            values["error"],
            int(values["num_frames"] or 0),
            bool(values["review"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


class RecordWriter:
    """Writes records beside the work, a few at a time, and those of one clip one after the other.

    Args:
        destination: Where they go.
    """

    def __init__(self, destination: Location) -> None:
        self._destination = destination
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="starvsr-records")
        self._under_way: dict[str, Future[None]] = {}

    def put(self, clip: Clip, record: Record) -> None:
        """Write a record; waits while too many are under way.

        Raises:
            StarVsrError: An earlier one could not be written.
        """
        self.finish(clip)
        for output, future in list(self._under_way.items()):
            if future.done():
                del self._under_way[output]
                future.result()
        if len(self._under_way) >= _THREADS * 4:
            self._under_way.pop(next(iter(self._under_way))).result()
        self._under_way[clip.output] = self._pool.submit(self._write, clip, record)

    def _write(self, clip: Clip, record: Record) -> None:
        """Write a record of a try that failed; keeps the digest of what an earlier try may have delivered."""
        before = read_record(clip, self._destination)
        digest = None if before is None else before.sha256
        replace(record, sha256=digest).write(clip, self._destination)

    def finish(self, clip: Clip) -> None:
        """Wait for the record of a clip; called before somebody else may write one.

        Raises:
            StarVsrError: It could not be written.
        """
        future = self._under_way.pop(clip.output, None)
        if future is not None:
            future.result()

    def close(self) -> None:
        """Wait for all records.

        Raises:
            StarVsrError: One could not be written.
        """
        self._pool.shutdown(wait=True)
        for future in self._under_way.values():
            future.result()
