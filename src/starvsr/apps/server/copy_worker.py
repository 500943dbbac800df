"""The process that makes a copy which browsers play; it takes one order, as `worker` does, and decodes in yet another.

A line of JSON comes in: ``source`` and ``stem`` (paths), ``sound`` (whether it is wanted), ``on_corrupt``,
``most_bytes`` and ``limits``. "progress", then "done" or "failed" go out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from starvsr.errors import StarVsrError

_REPORT_EVERY = 0.5


def main() -> None:
    """Serve the process that started this one; end with it."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(5)  # jobs, and the server, come first

    def say(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply).encode() + b"\n")

    try:
        say({"kind": "done", **_made(order, say)})
    except StarVsrError as error:
        say({"kind": "failed", "message": " ".join(str(error).split())})
    except Exception as error:
        say({"kind": "failed", "message": f"unexpected {type(error).__name__}; please report it"})


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _made(order: dict[str, Any], say: Any) -> dict[str, Any]:
    from starvsr.families.options import options_from
    from starvsr.jobs.inputs import probe_input
    from starvsr.video.playable import write_playable

    info = probe_input(Path(order["source"]), options_from(order["limits"]))
    total, last = info.estimated_frames, 0.0

    def told(count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY:
            last = now
            say({"kind": "progress", "fraction": min(1.0, count / total) if total else None})

    copy = write_playable(
        info,
        Path(order["stem"]),
        sound=order["sound"],
        on_corrupt=order["on_corrupt"],
        most_bytes=order["most_bytes"],
        on_frame=told,
    )
    return {"num_bytes": copy.path.stat().st_size}


if __name__ == "__main__":
    main()
