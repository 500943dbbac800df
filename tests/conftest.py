"""What every test run has: one thread for each process, no accidental network, no search through what never changes."""

from __future__ import annotations

import gc
import os

# before torch or OpenCV are imported, for this process, its threads and the processes that it starts: a second thread
# does nothing but wait for tensors as small as these, and it waits by computing
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator

import pytest
import torch

gc.disable()  # while packages and tests are loaded: their objects stay, and there are hundreds of thousands


def pytest_collection_finish() -> None:
    """Leave out of every later collection what is there before the first test: a model's job ends with one of 0.6 s."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Begin each test with one thread, whatever the one before left."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
