"""What every test run has: few threads (the machine is shared) and no accidental use of the network."""

from __future__ import annotations

import os

# before torch or OpenCV are imported: many threads on few cores make small tensors slower, not faster
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread for tiny tensors: on a busy machine, waiting for a second one costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
