"""The record of uploads and jobs: a SQLite file that survives the server. Thread-safe."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from starvsr.apps.server.errors import no_such
from starvsr.apps.server.records import UNFINISHED, JobRecord, State, Upload, columns, from_row, to_row
from starvsr.errors import OutputError

_FORMAT = 2


def new_id() -> str:
    """Return an id that cannot be guessed: 96 random bits in hexadecimal digits."""
    return secrets.token_hex(12)


class Store:
    """Uploads and jobs by id.

    Args:
        path: The file; made when it is not there.

    Raises:
        OutputError: It cannot be opened, or was made by another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._make(path)
        except sqlite3.Error as error:
            raise OutputError(f"{path}: the record of jobs cannot be opened ({error}): choose another --data") from None

    def _make(self, path: Path) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == 1:  # what came with format 2
            self._db.execute("ALTER TABLE jobs ADD COLUMN preview DEFAULT '{}'")
        elif found not in (0, _FORMAT):
            raise OutputError(f"{path}: made by another version of starvsr: choose another --data")
        for table, kind in (("uploads", Upload), ("jobs", JobRecord)):
            names = ", ".join(f"{name} PRIMARY KEY" if name == "id" else name for name in columns(kind))
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({names})")
        self._db.execute(f"PRAGMA user_version = {_FORMAT}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # ---- uploads

    def add_upload(self, upload: Upload) -> None:
        """Record an upload."""
        self._insert("uploads", upload)

    def upload(self, id: str, user: str) -> Upload:
        """Return an upload of a user.

        Raises:
            RefusedError: There is none.
        """
        found = self._select("uploads", Upload, "id = ? AND user = ?", (id, user))
        if not found:
            raise no_such("upload")
        return found[0]

    def uploads(self, user: str | None = None) -> list[Upload]:
        """Return the uploads of a user, or all, oldest first."""
        return self._select("uploads", Upload, *_of(user))

    def remove_upload(self, id: str) -> None:
        """Forget an upload."""
        self._execute("DELETE FROM uploads WHERE id = ?", (id,))

    # ---- jobs

    def add_job(self, job: JobRecord) -> None:
        """Record a job."""
        self._insert("jobs", job)

    def job(self, id: str, user: str | None = None) -> JobRecord:
        """Return a job; with a user, one of theirs.

        Raises:
            RefusedError: There is none.
        """
        where, values = ("id = ?", (id,)) if user is None else ("id = ? AND user = ?", (id, user))
        found = self._select("jobs", JobRecord, where, values)
        if not found:
            raise no_such("job")
        return found[0]

    def jobs(self, user: str | None = None, states: tuple[State, ...] | None = None) -> list[JobRecord]:
        """Return the jobs of a user, or all, in some states, or any, oldest first."""
        where, values = _of(user)
        if states is not None:
            where += f" AND state IN ({', '.join('?' * len(states))})"
            values += tuple(states)
        return self._select("jobs", JobRecord, where, values)

    def change(self, id: str, *, only_in: tuple[State, ...] | None = None, **values: Any) -> bool:
        """Change a job; with ``only_in``, if it is in one of these states. Says whether it did."""
        with self._lock:
            found = self._select("jobs", JobRecord, "id = ?", (id,))
            if not found or (only_in is not None and found[0].state not in only_in):
                return False
            row = to_row(replace(found[0], **values))
            sets = ", ".join(f"{name} = ?" for name in columns(JobRecord))
            self._execute(f"UPDATE jobs SET {sets} WHERE id = ?", (*row, id))
            return True

    def remove_job(self, id: str) -> None:
        """Forget a job."""
        self._execute("DELETE FROM jobs WHERE id = ?", (id,))

    def is_used(self, upload: str) -> bool:
        """Whether an unfinished job reads an upload."""
        marks = ", ".join("?" * len(UNFINISHED))
        return bool(self._select("jobs", JobRecord, f"upload = ? AND state IN ({marks})", (upload, *UNFINISHED)))

    def num_bytes(self, user: str | None = None) -> int:
        """Return the bytes that uploads and outputs of a user, or of all, take or will take."""
        where, values = _of(user)
        with self._lock:
            select = self._db.execute(f"SELECT COALESCE(SUM(size), 0) FROM uploads WHERE {where}", values)
            uploads = select.fetchone()[0]
            select = self._db.execute(f"SELECT COALESCE(SUM(num_bytes), 0) FROM jobs WHERE {where}", values)
            outputs = select.fetchone()[0]
        return int(uploads) + int(outputs)

    def locked(self) -> threading.RLock:
        """Return the lock, to look and write in one step."""
        return self._lock

    # ---- rows

    def _insert(self, table: str, record: Upload | JobRecord) -> None:
        row = to_row(record)
        self._execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _select(self, table: str, kind: type, where: str, values: tuple[Any, ...]) -> list[Any]:
        text = f"SELECT {', '.join(columns(kind))} FROM {table} WHERE {where} ORDER BY created, id"
        with self._lock:
            return [from_row(kind, row) for row in self._db.execute(text, values).fetchall()]

    def _execute(self, text: str, values: Collection[Any]) -> None:
        with self._lock:
            self._db.execute(text, tuple(values))


def _of(user: str | None) -> tuple[str, tuple[Any, ...]]:
    return ("1", ()) if user is None else ("user = ?", (user,))
