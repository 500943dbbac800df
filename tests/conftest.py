"""What every test run has: one thread for each process, no accidental network, no search through what never changes."""

from __future__ import annotations

import gc
import os

# before torch or OpenCV are imported, for this process, its threads and the processes that it starts: a second thread
# does nothing but wait for tensors as small as these, and it waits by computing
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Generator, Iterator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage while packages and tests are loaded: their objects stay, hundreds of thousands of them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Leave out of every later collection what is there before the first test: a model's job ends with one of 0.6 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Begin each test with one thread, whatever the one before left."""
    import torch  # not by the process that only hands tests out

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
