"""How many processor threads the network may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starvsr.processors import allowed_processors


@contextmanager
def processor_threads(count: int | None) -> Iterator[None]:
    """Let torch use this many processor threads inside the block; None: as many as torch and the system allow.

    The number belongs to the process, not to the job: run concurrent jobs in processes of their own.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or min(before, allowed_processors()))
    try:
        yield
    finally:
        torch.set_num_threads(before)
