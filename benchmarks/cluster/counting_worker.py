"""A worker that notes each order that it begins and ends, and may take longer than it has to."""

from __future__ import annotations

import json
import os
import time
from typing import Any, TypedDict

from starvsr.apps.batch.clip_worker import ClipWorker

NOTES = "STARVSR_BENCHMARK_NOTES"
"""The variable that names the file of notes."""


class Note(TypedDict):
    """A line of the file of notes.

    Args:
        what: "begin", or how the order ended.
        op: The order's.
        output: Of its clip.
        share: Its number; None when it is none.
        pid: Of the worker's process.
        time: Seconds since the epoch.
        processor: Seconds of processor time of the worker so far.
    """

    what: str
    op: str
    output: str
    share: int | None
    pid: int
    time: float
    processor: float


class CountingWorker(ClipWorker):
    """Appends a line to the file of notes when an order begins, and one when it has ended."""

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do an order, between two notes."""
        self._note(order, "begin")
        reply = self.work(order)
        self._note(order, "found" if reply.get("was_delivered") else reply["kind"])
        return reply

    def work(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do an order."""
        return super().do(order)

    def _note(self, order: dict[str, Any], what: str) -> None:
        path = os.environ.get(NOTES)
        if path is None or order["op"] == "hello":
            return
        note = Note(
            what=what,
            op=order["op"],
            output=order["clip"]["output"],
            share=order.get("share"),
            pid=os.getpid(),
            time=time.time(),
            processor=time.process_time(),
        )
        with open(path, "ab", buffering=0) as file:  # lines this short are appended whole
            file.write(json.dumps(note).encode() + b"\n")
