"""What every test run has: one thread for each process (tests of threads ask for more) and no accidental network."""

from __future__ import annotations

import os

# before torch or OpenCV are imported, for this process, its threads and the processes that it starts: a second thread
# does nothing but wait for tensors as small as these, and it waits by computing
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Begin each test with one thread, whatever the one before left."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
