"""Stop between two layers of a network, for hosts whose users do not wait for a segment to be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starvsr.engine.progress import CancelToken


@contextmanager
def cancellable_layers(cancel: CancelToken) -> Iterator[None]:
    """Look at ``cancel`` before each layer of every network that computes inside the block, in any thread.

    Meant for one job at a time in a process. Compiled networks run whole: their layers are not seen.

    Args:
        cancel: Looked at about as often as layers begin; `Cancelled` comes out of the network.
    """
    from torch.nn.modules.module import register_module_forward_pre_hook

    hook = register_module_forward_pre_hook(lambda module, inputs: cancel.raise_if_cancelled())
    try:
        yield
    finally:
        hook.remove()
