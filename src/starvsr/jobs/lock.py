"""One process at a time: a file lock of the operating system, released when its holder ends.

The file also holds the holder's number, for messages only: a number left behind by a killed process means nothing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from starvsr.engine.progress import CancelToken
from starvsr.errors import JobError

_TRIES = 10


class JobLock:
    """Exclusive lock on a job, held until ``release`` or the end of the process.

    Args:
        path: The lock file; made when it is not there.

    Raises:
        JobError: Another process works on the job.
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        for _ in range(_TRIES):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _try_lock(handle):
                holder = _holder(handle)
                os.close(handle)
                raise JobError(
                    f"{path.parent}: another process{holder} works on this job: wait for it, or choose another output"
                )
            if _is_still(handle, path):
                self._handle = handle
                _write_holder(handle)
                return
            os.close(handle)  # the holder before us removed the job just now
        raise JobError(f"{path.parent}: the job comes and goes: is another process removing it? try again")

    def release(self) -> None:
        """Let others work on the job; harmless when released."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def holder_of(path: Path) -> int | None:
    """Return the number of the process that holds a lock file; None when nobody does."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        if _try_lock(handle):
            return None
        digits = os.pread(handle, 20, 0) if hasattr(os, "pread") else b""
        return int(digits) if digits.strip().isdigit() else 0
    finally:
        os.close(handle)


def await_free(path: Path, seconds: float, cancel: CancelToken) -> None:
    """Wait a little for a process that is about to end, such as the worker of a killed server, to let a job go.

    Args:
        path: The lock file.
        seconds: That are waited at most.
        cancel: Looked at often.

    Raises:
        Cancelled: ``cancel`` was called.
    """
    end = time.monotonic() + seconds
    while holder_of(path) is not None and time.monotonic() < end:
        cancel.raise_if_cancelled()
        time.sleep(0.1)


def _holder(handle: int) -> str:
    digits = os.pread(handle, 20, 0) if hasattr(os, "pread") else b""
    return f" (number {digits.decode().strip()})" if digits.strip().isdigit() else ""


def _write_holder(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # far behind the number, which others may read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
