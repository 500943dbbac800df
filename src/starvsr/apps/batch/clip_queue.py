"""The clips of a run and where they stand, on the disk: the driver's memory does not grow with their number."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from starvsr.apps.batch.clips import Clip
from starvsr.apps.batch.records import Standing
from starvsr.errors import OptionError

_TABLE = """
CREATE TABLE clips (
    position INTEGER PRIMARY KEY, output TEXT UNIQUE NOT NULL, id TEXT NOT NULL, input TEXT NOT NULL,
    options TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, error TEXT,
    frames INTEGER NOT NULL DEFAULT 0,
    review INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX by_state ON clips (state, not_before, position);
"""


@dataclass(frozen=True)
class Waiting:
    """A clip whose turn it is.

    Args:
        position: Its place in the manifest.
        clip: The clip.
        tries: How often it was tried.
        losses: How often its worker was lost with the machine that it was on.
    """

    position: int
    clip: Clip
    tries: int
    losses: int


@dataclass(frozen=True)
class Counts:
    """How many clips stand where.

    Args:
        done: Finished, in this run or before.
        waiting: To be done, those at work included.
        failed: Given up.
        review: Of those that are done, how many are marked for review.
        num_frames: Frames of those that are done.
    """

    done: int
    waiting: int
    failed: int
    review: int
    num_frames: int

    @property
    def total(self) -> int:
        """All clips."""
        return self.done + self.waiting + self.failed


class ClipQueue:
    """Clips by their state. Used from one thread; the file goes with the process, what lasts are records."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="starvsr-batch-", suffix=".sqlite")  # noqa: SIM115 - in close
        self._base = sqlite3.connect(self._file.name, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("PRAGMA cache_size = -4000")
        self._base.executescript(_TABLE)

    def close(self) -> None:
        """Remove the file."""
        self._base.close()
        self._file.close()

    def add(self, clips: Iterable[Clip]) -> None:
        """Add clips, in order.

        Raises:
            OptionError: Two would get the same output.
        """
        self._base.execute("BEGIN")
        for clip in clips:
            options = json.dumps(clip.options, sort_keys=True)
            try:
                self._base.execute(
                    "INSERT INTO clips (output, id, input, options) VALUES (?, ?, ?, ?)",
                    (_text(clip.output), clip.id, _text(clip.input), options),
                )
            except sqlite3.IntegrityError:
                first = self._base.execute("SELECT input FROM clips WHERE output = ?", (_text(clip.output),)).fetchone()
                raise OptionError(
                    f"{_name(first[0])} and {clip.input} would both become {clip.output}: give one of them another "
                    '"output" in a manifest'
                ) from None
        self._base.execute("COMMIT")

    def take_over(self, standings: Iterable[Standing], *, retry_failed: bool) -> None:
        """Begin where earlier runs have stopped.

        Args:
            standings: Of their records; those of no clip of this batch are passed over.
            retry_failed: Try clips again that were given up.
        """
        self._base.execute("BEGIN")
        for standing in standings:
            state, tries = standing.state, standing.tries
            if state == "failed" and retry_failed:
                state, tries = "waiting", 0
            self._base.execute(
                "UPDATE clips SET state = ?, tries = ?, error = ?, frames = ?, review = ? WHERE output = ? AND id = ?",
                (
                    state,
                    tries,
                    standing.error,
                    standing.num_frames,
                    standing.is_for_review,
                    _text(standing.output),
                    standing.id,
                ),
            )
        self._base.execute("COMMIT")

    def take(self, limit: int = 1) -> list[Waiting]:
        """Take clips whose turn it is: they are at work until their state is set."""
        rows = self._base.execute(
            "SELECT position, input, output, options, tries, losses FROM clips WHERE state = 'waiting' "
            "AND not_before <= ? ORDER BY not_before, position LIMIT ?",
            (time.time(), limit),
        ).fetchall()
        for row in rows:
            self._base.execute("UPDATE clips SET state = 'at work' WHERE position = ?", (row[0],))
        return [Waiting(row[0], _clip(row), row[4], row[5]) for row in rows]

    def put_back(self, item: Waiting, *, tries: int, losses: int, error: str | None, pause: float | None) -> None:
        """Let a clip wait for its next try.

        Args:
            item: The clip.
            tries: How often it was tried.
            losses: How often its worker was lost with its machine.
            error: Why the try has failed.
            pause: Seconds before the next try, which comes after clips that were not tried yet; None: it is next.
        """
        self._base.execute(
            "UPDATE clips SET state = 'waiting', tries = ?, losses = ?, error = ?, not_before = ? WHERE position = ?",
            (tries, losses, error, 0 if pause is None else time.time() + pause, item.position),
        )

    def settle(
        self, item: Waiting, state: str, *, tries: int, error: str | None = None, frames: int = 0, review: bool = False
    ) -> None:
        """Set the last state of a clip."""
        self._base.execute(
            "UPDATE clips SET state = ?, tries = ?, error = ?, frames = ?, review = ? WHERE position = ?",
            (state, tries, error, frames, review, item.position),
        )

    @property
    def counts(self) -> Counts:
        """How many clips stand where."""
        rows = self._base.execute("SELECT state, COUNT(*), SUM(review), SUM(frames) FROM clips GROUP BY state")
        found = {state: (number, review or 0, frames or 0) for state, number, review, frames in rows}
        none = (0, 0, 0)
        waiting = found.get("waiting", none)[0] + found.get("at work", none)[0]
        done = found.get("done", none)
        return Counts(done[0], waiting, found.get("failed", none)[0], done[1], done[2])

    def problems(self, limit: int) -> list[tuple[str, str]]:
        """Return (output, error) of the first clips that were given up."""
        found = self._base.execute(
            "SELECT output, error FROM clips WHERE state = 'failed' ORDER BY position LIMIT ?", (limit,)
        )
        return [(_name(output), error or "") for output, error in found]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield state, tries and error of every clip, in order."""
        found = self._base.execute(
            "SELECT input, output, state, tries, error, frames, review FROM clips ORDER BY position"
        )
        for source, output, state, tries, error, frames, review in found:
            yield {
                "input": _name(source),
                "output": _name(output),
                "state": "waiting" if state == "at work" else state,
                "tries": tries,
                "error": error,
                "num_frames": frames,
                "review": bool(review),
            }

    def distinct_options(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield each combination of options and suffix of the output once, with an output; of clips to be done."""
        found = self._base.execute(
            "SELECT options, MIN(output) FROM clips WHERE state = 'waiting' "
            "GROUP BY options, LOWER(SUBSTR(output, LENGTH(RTRIM(output, REPLACE(output, '.', '')))))"
        )
        for options, output in found:
            yield json.loads(options), _name(output)

    @property
    def next_turn(self) -> float | None:
        """Seconds until the next clip may be taken; None when none waits."""
        row = self._base.execute("SELECT MIN(not_before) FROM clips WHERE state = 'waiting'").fetchone()
        return None if row[0] is None else max(0.0, row[0] - time.time())


def _text(name: str) -> str:
    """Make ASCII of a name: names of files need not be text, which SQLite asks for."""
    return json.dumps(name)


def _name(text: str) -> str:
    return str(json.loads(text))


def _clip(row: tuple[Any, ...]) -> Clip:
    return Clip(_name(row[1]), _name(row[2]), json.loads(row[3]))
