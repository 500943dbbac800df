"""What the threads of the queue share: jobs that run, whose turn it is, and a way to wake each other."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from starvsr.apps.server.worker_process import WorkerProcess

Wish = Literal["paused", "cancelled", "deleted", "queued"]


@dataclass
class Running:
    """A job that a worker does.

    Attributes:
        worker: Its process.
        wish: The state that it was asked to stop for.
        progress: The last report.
    """

    worker: WorkerProcess
    wish: Wish | None = None
    progress: dict[str, Any] = field(default_factory=dict)


class Board:
    """The state that threads share.

    Attributes:
        changed: Guards what follows, and is notified when the record of jobs changes.
        running: Jobs that run, by id.
        served: Jobs begun for each user, for fair turns.
        last_seconds: How long the last job took.
        is_closing: Whether the server ends.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running: dict[str, Running] = {}
        self.served: Counter[str] = Counter()
        self.last_seconds = 30.0
        self.is_closing = False

    def sleep(self, seconds: float, *, wakes: bool = True) -> None:
        """Wait some seconds, until the server ends, or, with ``wakes``, until something changes."""
        end = time.monotonic() + seconds
        with self.changed:
            while not self.is_closing and (left := end - time.monotonic()) > 0:
                self.changed.wait(left)
                if wakes:
                    return

    def notify(self) -> None:
        """Wake threads that wait for a change."""
        with self.changed:
            self.changed.notify_all()
