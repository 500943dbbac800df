"""Settings of glibc's allocator: which freed blocks it keeps, and when it returns pages to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks instead of returning each to the system.

    A network frees and takes the same blocks over and over, and fresh pages for each cost time. Blocks above
    32 MB, whole segments of frames, are still given back. Does nothing elsewhere than on Linux with glibc.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


def keep_all_freed_memory() -> None:
    """Let glibc keep freed blocks of any size, for a process that takes the same ones step after step.

    A training step's activations are larger than what `keep_freed_memory` keeps. Pages that are asked for anew can
    take longer than the arithmetic on them. Does nothing elsewhere than on Linux with glibc.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 64 << 20)


def trim_heap() -> None:
    """Return all free pages to the system, including those between used blocks; on Linux with glibc only.

    Called between pieces of work that each take a second or so, it costs little and keeps what one left behind
    from adding to what the next one takes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
