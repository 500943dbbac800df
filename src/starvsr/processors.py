"""What this process may take of the machine's processors, and how the threads of torch wait for each other.

OpenMP's threads spin where they wait. Alone on a machine that saves microseconds; beside other programs a thread burns
whole time slices while the one that it waits for is not running. The OpenMP library reads its environment when it is
loaded, so :func:`wait_asleep` has no effect in a program that has loaded torch before.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_USERS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Any of them says that the user has decided."""


def wait_asleep() -> None:
    """Let threads sleep where they wait for each other, if nobody decided otherwise and torch is not loaded yet."""
    if "torch" not in sys.modules and not any(name in os.environ for name in _USERS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@contextlib.contextmanager
def at_ordinary_priority() -> Iterator[None]:
    """Give back ordinary priority to threads that a library makes real-time inside the block, where they can be told.

    SVT-AV1 asks for real-time threads, which it gets as root, in containers for example: nothing else runs then.
    """
    before = _real_time_threads()
    try:
        yield
    finally:
        for thread in _real_time_threads() - before:
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time_threads() -> set[int]:
    """Return the threads of this process that run at real-time priority; none where they are not listed."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/task") if hasattr(os, "sched_getscheduler") else ():
            with contextlib.suppress(OSError):  # it has ended
                policy = os.sched_getscheduler(int(name)) & ~os.SCHED_RESET_ON_FORK
                if policy in (os.SCHED_FIFO, os.SCHED_RR):
                    found.add(int(name))
    return found


def allowed_processors(root: Path = Path("/")) -> int:
    """Return how many processors this process may keep busy: its affinity, and the quotas of its control groups.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *_quotas(root)]))


def _quotas(root: Path) -> Iterator[int]:
    """Yield the limits of the groups that this process is in, in whole processors, rounded up."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        own = PurePosixPath(path.lstrip("/"))
        for folder in [base, *(base / part for part in (own, *own.parents))]:
            quota, period = _limit(folder, is_first_version=bool(controllers))
            if quota > 0 and period > 0:
                yield -(-quota // period)


def _limit(folder: Path, *, is_first_version: bool) -> tuple[int, int]:
    """Return quota and period in microseconds; 0 or less where there is no limit."""
    try:
        if is_first_version:
            return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
        quota, period = (folder / "cpu.max").read_text().split()
        return (0 if quota == "max" else int(quota)), int(period)
    except (OSError, ValueError):
        return 0, 0
