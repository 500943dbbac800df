"""The process of a worker on this machine: lines of JSON in and out, one `ClipWorker` between them.

When standard input ends, the driver is gone, and so is this process, at once: what is finished lies on the disk.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

from starvsr.apps.batch.clip_worker import ClipWorker

_REPORT_EVERY = 1.0


def serve(make: Any = ClipWorker) -> None:
    """Serve the process that started this one; the settings are its only argument.

    Args:
        make: Makes the worker of the settings.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    worker = make(json.loads(sys.argv[1]))
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders, worker), daemon=True).start()
    lock = threading.Lock()

    def say(reply: dict[str, Any]) -> None:
        with lock:
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()

    while True:
        order = orders.get()
        over = threading.Event()
        reporter = threading.Thread(target=_report, args=(worker, over, say), daemon=True)
        reporter.start()
        reply = worker.do(order)
        over.set()
        reporter.join()
        say(reply)


def _listen(lines: IO[bytes], orders: queue.Queue[dict[str, Any]], worker: ClipWorker) -> None:
    for line in lines:
        order = json.loads(line)
        if order["op"] == "stop":
            worker.stop()
        else:
            orders.put(order)
    os._exit(0)


def _report(worker: ClipWorker, over: threading.Event, say: Any) -> None:
    while not over.wait(_REPORT_EVERY):
        say({"kind": "progress", **worker.progress()})


if __name__ == "__main__":
    serve()
