"""The process that upscales: one for each device, with the last model loaded.

Lines of JSON come in on standard input and go out on standard output::

    {"op": "run", "job": ID, "source": PATH, "out": PATH, "options": {...}, ...}
    {"op": "stop", "job": ID}

    {"kind": "progress", "job": ID, ...}, and at the end "done", "stopped" or "failed"

The input is decoded in yet another process (`isolate`). When standard input ends, the server is gone and so is this
process, at once: a job loses nothing by it, as by any kill, and the next server's worker finds its lock free.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from starvsr.apps.server.fields import job_options
from starvsr.apps.server.preview_clip import write_preview_clip
from starvsr.apps.server.preview_frames import write_preview
from starvsr.engine.progress import CancelToken, Progress, UpscaleResult
from starvsr.errors import Cancelled, StarVsrError
from starvsr.families.kept_model import KeptModel
from starvsr.jobs.folder import JobFolder, job_path
from starvsr.jobs.lock import await_free

_REPORT_EVERY = 0.25
_LOCK_PATIENCE = 20.0


class Worker:
    """Does jobs one after the other.

    Args:
        replies: Where lines go.
    """

    def __init__(self, replies: IO[bytes]) -> None:
        self._replies = replies
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stops: set[str] = set()
        self._current: tuple[str, CancelToken] | None = None
        self._lock = threading.Lock()
        self._kept = KeptModel()

    def listen(self, orders: IO[bytes]) -> None:
        """Take lines until they end, then end the process."""
        for line in orders:
            order = json.loads(line)
            if order["op"] == "run":
                self._orders.put(order)
                continue
            with self._lock:
                self._stops.add(order["job"])
                if self._current is not None and self._current[0] == order["job"]:
                    self._current[1].cancel()
        os._exit(0)

    def work(self) -> None:
        """Do what is asked, for ever."""
        while True:
            order = self._orders.get()
            token = CancelToken()
            with self._lock:
                self._current = (order["job"], token)
                if order["job"] in self._stops:
                    token.cancel()
            reply = self._do(order, token)
            with self._lock:
                self._current = None
                self._stops.discard(order["job"])
            self._say({"job": order["job"], **reply})

    def _do(self, order: dict[str, Any], token: CancelToken) -> dict[str, Any]:
        try:
            token.raise_if_cancelled()
            return {"kind": "done", **self._upscale(order, token)}
        except Cancelled:
            return {"kind": "stopped"}
        except StarVsrError as error:
            if isinstance(error, MemoryError):
                self._kept.drop()
            return {"kind": "failed", "message": " ".join(str(error).split())}
        except Exception as error:
            text = " ".join(str(error).split())
            return {"kind": "failed", "message": f"unexpected {type(error).__name__}: {text}; please report it"}

    def _upscale(self, order: dict[str, Any], token: CancelToken) -> dict[str, Any]:
        from starvsr.api import prepare
        from starvsr.jobs.prompts.request import Prompts

        source, out = Path(order["source"]), Path(order["out"])
        preview = order.get("preview")
        if out.exists() and not job_path(out).exists():  # finished just before the server could hear of it
            return {"seconds": None, "notes": []}
        options = job_options(
            order["options"],
            order["limits"],
            device=order["device"],
            memory=order["memory"],
            threads=order["threads"],
        )
        await_free(JobFolder(job_path(out)).lock, _LOCK_PATIENCE, token)
        prompts = Prompts(may_ask=False)
        job = prepare(source, out, options, upscaler=self._kept.upscaler_for(options), prompts=prompts)
        if preview and "count" in preview:
            return write_preview(job, preview["at"], preview["count"])
        last = 0.0

        def show(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _REPORT_EVERY or progress.stage not in ("upscaling", "planning"):
                last = now
                self._say({"kind": "progress", "job": order["job"], **_told(progress)})

        if preview:
            return write_preview_clip(job, preview["at"], preview["seconds"], show, token)
        result = job.run(on_progress=show, cancel=token)
        return _result(result)

    def _say(self, reply: dict[str, Any]) -> None:
        self._replies.write(json.dumps(reply).encode() + b"\n")
        self._replies.flush()


def _told(progress: Progress) -> dict[str, Any]:
    return {
        "stage": progress.stage,
        "num_done": progress.num_done,
        "num_frames": progress.num_frames,
        "num_kept": progress.num_kept,
        "fraction": progress.fraction,
        "frames_per_second": progress.frames_per_second,
        "seconds_left": progress.seconds_left,
        "peak_memory": progress.peak_memory,
    }


def _result(result: UpscaleResult) -> dict[str, Any]:
    return {
        "num_frames": result.num_frames,
        "num_kept": result.num_kept,
        "width": result.width,
        "height": result.height,
        "seconds": result.seconds,
        "peak_memory": result.peak_memory,
        "notes": list(result.notes),
    }


def main() -> None:
    """Serve the process that started this one."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    worker = Worker(replies)
    threading.Thread(target=worker.listen, args=(sys.stdin.buffer,), daemon=True).start()
    worker.work()


if __name__ == "__main__":
    main()
