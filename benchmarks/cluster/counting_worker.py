"""A worker that notes each order that it begins and ends, and may take longer than it has to."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from starvsr.apps.batch.clip_worker import ClipWorker

NOTES = "STARVSR_BENCHMARK_NOTES"
"""The variable that names the file of notes."""


class CountingWorker(ClipWorker):
    """Appends a line to the file of notes when an order begins, and one when it has ended."""

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do an order, between two notes."""
        self._note(order, "begin")
        reply = super().do(order)
        self._note(order, "found" if reply.get("was_delivered") else reply["kind"])
        return reply

    def _note(self, order: dict[str, Any], what: str) -> None:
        path = os.environ.get(NOTES)
        if path is None or order["op"] == "hello":
            return
        note = {"what": what, "op": order["op"], "output": order["clip"]["output"], "pid": os.getpid()}
        note |= {"share": order.get("share"), "time": time.time(), "processor": time.process_time()}
        with open(path, "ab", buffering=0) as file:  # lines this short are appended whole
            file.write(json.dumps(note).encode() + b"\n")
