"""Standard output and standard error as they come: closed, ASCII only, a pipe that nobody reads, a full disk."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

_STANDARD = (0, 1, 2)


def prepare_streams() -> None:
    """Make printing safe: streams that are closed lead to nothing, and letters that a stream lacks are written out.

    A descriptor of the standard streams that is closed would be given to the next file that is opened, an output
    perhaps, and libraries would print into it; so it is taken first.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the program
        elif hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def is_terminal(stream: Any) -> bool:
    """Whether a stream leads to a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def tell(text: str) -> None:
    """Print a line on standard error; when nobody can read it, work goes on all the same."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


def silence(name: str) -> None:
    """Let a standard stream that failed lead to nothing, so that the end of the program does not fail on it, too."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, getattr(sys, name).fileno())  # what is still in its buffer goes there
        os.close(nowhere)
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the program
