"""A cancelled job ends between two layers, in whichever thread they compute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from starvsr.engine.interruption import cancellable_layers
from starvsr.engine.progress import CancelToken
from starvsr.errors import Cancelled


class _Cancels(nn.Module):
    def __init__(self, cancel: CancelToken) -> None:
        super().__init__()
        self.cancel = cancel

    def forward(self, value: Tensor) -> Tensor:
        self.cancel.cancel()
        return value


def test_no_layer_begins_after_the_cancellation() -> None:
    cancel, reached = CancelToken(), []
    last = nn.Identity()
    last.register_forward_hook(lambda *_: reached.append(True))
    network = nn.Sequential(nn.Identity(), _Cancels(cancel), last)
    with pytest.raises(Cancelled), cancellable_layers(cancel):
        network(torch.zeros(1))
    assert not reached
    assert network(torch.zeros(1)).shape == (1,) and reached  # outside the block nothing is looked at


def test_layers_in_other_threads_end_too() -> None:
    cancel = CancelToken()
    with ThreadPoolExecutor(1) as pool, cancellable_layers(cancel):
        assert pool.submit(nn.Identity(), torch.zeros(1)).result().shape == (1,)
        cancel.cancel()
        with pytest.raises(Cancelled):
            pool.submit(nn.Identity(), torch.zeros(1)).result()
