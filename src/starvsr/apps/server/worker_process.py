"""The other end of a worker process: starting it, giving it a job, reading what it says, line by line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class WorkerDiedError(Exception):
    """The process ended without an answer.

    Args:
        code: Its exit status; negative for a signal.
    """

    def __init__(self, code: int | None) -> None:
        how = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        super().__init__(how)


class WorkerProcess:
    """A process that takes orders on its standard input and answers on its standard output.

    Args:
        module: What runs in it.
        words: Its arguments.
        environment: Variables that it gets beside those of this process.
    """

    def __init__(
        self,
        module: str = "starvsr.apps.server.worker",
        words: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=None if environment is None else {**os.environ, **environment},
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def run(self, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Give it a job and yield what it says about it; the last one is "done", "stopped" or "failed".

        Raises:
            WorkerDiedError: It ended before.
        """
        self._send({"op": "run", **order})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            yield reply
            if reply["kind"] != "progress":
                return
        raise WorkerDiedError(self._process.wait())

    def stop(self, job: str) -> None:
        """Ask it to give up a job; it answers with "stopped", or was done already."""
        with contextlib.suppress(WorkerDiedError):
            self._send({"op": "stop", "job": job})

    def kill(self) -> None:
        """End it; who waits for its answer learns that it died."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End it, whatever it does, and wait until it is gone."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _send(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            with self._lock:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
        except (OSError, ValueError):
            raise WorkerDiedError(self._process.poll()) from None
