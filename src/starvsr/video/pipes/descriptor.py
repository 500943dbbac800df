"""Reading and writing descriptors for PyAV: whole buffers, errors that are kept, reading that can be given up."""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
from typing import Any

from starvsr.errors import OutputError

STANDARD_INPUT, STANDARD_OUTPUT = "standard input", "standard output"
_PATIENCE = 0.2  # seconds between looks at whether reading was given up
_HEAD = 64
_ATOMIC = 4096  # bytes that a pipe takes at once when it can be written to: PIPE_BUF of Linux


class DescriptorReader:
    """What PyAV reads from: a pipe, a socket or a file, from where it is on, without seeking.

    Args:
        number: The descriptor. It stays open.

    Attributes:
        number: The descriptor.
        num_bytes: Bytes that were read.
        head: The first of them.
        is_waiting: Whether it waits for whoever writes.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._stopped = threading.Event()
        _binary(number)
        self.num_bytes = 0
        self.head = b""
        self.is_waiting = False

    def read(self, size: int) -> bytes:
        """Read some bytes; none at the end, or when reading was given up."""
        self.is_waiting = True
        try:
            if not self._wait():
                return b""
            data = os.read(self.number, size)
        finally:
            self.is_waiting = False
        if self.num_bytes < _HEAD:
            self.head += data[: _HEAD - self.num_bytes]
        self.num_bytes += len(data)
        return data

    def stop(self) -> None:
        """Give up reading, from another thread."""
        self._stopped.set()

    def _wait(self) -> bool:
        """Wait until there is something to read; False when reading was given up."""
        if sys.platform == "win32":  # pipes cannot be waited for there
            return not self._stopped.is_set()
        while not self._stopped.is_set():
            if select.select([self.number], [], [], _PATIENCE)[0]:
                return True
        return False


class DescriptorWriter:
    """What frames are written to.

    Args:
        number: The descriptor. It stays open.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._stopped = threading.Event()
        _binary(number)

    def write(self, data: Any) -> int:
        """Write all of a buffer, in pieces that a pipe takes at once.

        Raises:
            OutputError: The reader has closed the pipe, there is no space, or writing was given up.
        """
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while len(view):
                self._wait()
                view = view[os.write(self.number, view[:_ATOMIC]) :]
        except OSError as error:
            self._stopped.set()
            raise _output_error(error) from None
        return size

    def stop(self) -> None:
        """Give up writing, from another thread: nothing more is written."""
        self._stopped.set()

    def _wait(self) -> None:
        """Wait until a piece can be written."""
        while not self._stopped.is_set():
            if sys.platform == "win32" or select.select([], [self.number], [], _PATIENCE)[1]:
                return
        raise OutputError(f"{STANDARD_OUTPUT}: writing was given up")


def _binary(number: int) -> None:
    """Let Windows leave line ends alone."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(number, os.O_BINARY)


def _output_error(error: OSError) -> OutputError:
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        why = "its reader closed it before the end of the video"
        return OutputError(f"{STANDARD_OUTPUT}: {why}; start the reader again, or write to a file")
    why = error.strerror or str(error)
    return OutputError(f"{STANDARD_OUTPUT}: cannot be written ({why}); free some space, or write elsewhere")
