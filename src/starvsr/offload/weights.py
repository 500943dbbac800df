"""Where weights live while a model works: on its device, there only while they are used, or streamed past.

Whatever leaves the device leaves no copy to be brought back: the host keeps the weights, pinned where the device can
read them by itself, and results of the network do not depend on the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.offload.memory_plan import Place


class Lodging:
    """Weights of a module that can be moved to a device and let go of there."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        """Take the weights of a module, which lie in the host's memory (or on the device, when they stay)."""
        self.device = device
        self.slots = [(owner, name, tensor) for owner in module.modules() for name, tensor in _own(owner)]
        self._pinned = False

    @property
    def num_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.nbytes for _, _, tensor in self.slots)

    def pin(self) -> None:
        """Move the weights to pinned memory, so that copies run beside the computation; needs CUDA."""
        if self._pinned or self.device.type != "cuda":
            return
        self._pinned = True
        for index, (owner, name, tensor) in enumerate(self.slots):
            if tensor.device.type == "cpu":
                pinned = tensor.pin_memory()
                _put(owner, name, pinned)
                self.slots[index] = (owner, name, pinned)

    def copies(self, *, non_blocking: bool = False) -> list[Tensor]:
        """Return copies of the weights on the device."""
        copy = self.device.type == "cpu"  # so that a CPU can stand in for a device in tests
        return [tensor.to(self.device, non_blocking=non_blocking, copy=copy) for _, _, tensor in self.slots]

    def come(self, copies: list[Tensor] | None = None) -> None:
        """Let the module compute with copies on the device."""
        for (owner, name, _), copy in zip(self.slots, self.copies() if copies is None else copies, strict=True):
            _put(owner, name, copy)

    def leave(self) -> None:
        """Let go of the copies on the device."""
        for owner, name, tensor in self.slots:
            _put(owner, name, tensor)


def _own(owner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in owner.named_parameters(recurse=False):
        yield name, parameter.data
    yield from owner.named_buffers(recurse=False)


def _put(owner: nn.Module, name: str, tensor: Tensor) -> None:
    parameter = owner._parameters.get(name)
    if parameter is None:
        owner._buffers[name] = tensor
    else:
        parameter.data = tensor


class Placement:
    """Where the weights of a network and an autoencoder live.

    Args:
        network: The network; the modules in ``parts`` are streamed where the plan says so.
        vae: The autoencoder.
        parts: Modules of the network in the order in which they run.
        device: Where they compute.
        place: See :data:`~starvsr.offload.memory_plan.Place`.
    """

    def __init__(
        self, network: nn.Module, vae: nn.Module, parts: list[nn.Module], device: torch.device, place: Place
    ) -> None:
        self.place = place
        self._vae = Lodging(vae, device)
        self._stream: WeightStream | None = None
        self._network: Lodging | None = None
        if place == "stream":
            self._stream = WeightStream(network, parts, device)
        else:
            self._network = Lodging(network, device)
        if place == "resident":
            if device.type != "cpu":
                self._vae.come()
                self._enter_network()
        elif self._network is not None:
            self._network.pin()

    def _enter_network(self) -> None:
        assert self._network is not None
        self._network.come()

    @contextmanager
    def network(self) -> Iterator[None]:
        """Have the network's weights at hand inside the block."""
        if self.place == "resident":
            yield
            return
        try:
            if self._stream is not None:
                self._stream.open()
            else:
                self._enter_network()
            yield
        finally:
            if self._stream is not None:
                self._stream.close()
            elif self._network is not None:
                self._network.leave()

    @contextmanager
    def vae(self) -> Iterator[None]:
        """Have the autoencoder's weights at hand inside the block."""
        if self.place == "resident":
            yield
            return
        try:
            self._vae.come()
            yield
        finally:
            self._vae.leave()

    def end(self) -> None:
        """Bring all weights back to the host, so that another placement can take over."""
        if self._stream is not None:
            self._stream.close()
            self._stream.unhook()
        if self._network is not None:
            self._network.leave()
        self._vae.leave()


class WeightStream:
    """Brings the weights of a network to its device module by module, the next one while the present one computes.

    Args:
        network: The network. What none of ``parts`` holds is small and stays on the device.
        parts: Modules in the order in which they run; each run of the network calls them in it, again and again.
        device: Where the network computes.
    """

    def __init__(self, network: nn.Module, parts: list[nn.Module], device: torch.device) -> None:
        self.device = device
        self.parts = [Lodging(part, device) for part in parts]
        streamed = {id(owner) for part in self.parts for owner, _, _ in part.slots}
        self._rest = Lodging(network, device)
        self._rest.slots = [slot for slot in self._rest.slots if id(slot[0]) not in streamed]
        self._order = {id(part): index for index, part in enumerate(parts)}
        self._copier = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ahead: tuple[int, list[Tensor], Any] | None = None
        self._done: Any = None  # event behind the module that ended last
        self._here: set[int] = set()
        for part in self.parts:
            part.pin()
        self._rest.pin()
        self._hooks = [part.register_forward_pre_hook(self._before) for part in parts]
        self._hooks += [part.register_forward_hook(self._after, always_call=True) for part in parts]

    def open(self) -> None:
        """Bring what stays, and begin with the first module."""
        self._rest.come()
        self._fetch(0)

    def close(self) -> None:
        """Let go of everything on the device."""
        self._ahead = None
        for index in list(self._here):
            self.parts[index].leave()
        self._here.clear()
        self._rest.leave()

    def unhook(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()

    def _fetch(self, index: int) -> None:
        """Begin to copy a module's weights, beside the computation where the device can do that."""
        self._ahead = None  # let go of what was fetched in vain before more memory is taken
        part = self.parts[index]
        if self._copier is None:
            self._ahead = index, part.copies(), None
            return
        if self._done is not None:
            self._done.synchronize()  # or the host would run ahead and take memory for many modules
        with torch.cuda.stream(self._copier):
            copies = part.copies(non_blocking=True)
            ready = torch.cuda.Event()
            ready.record(self._copier)
        self._ahead = index, copies, ready

    def _before(self, module: nn.Module, _arguments: Any) -> None:
        index = self._order[id(module)]
        if self._ahead is None or self._ahead[0] != index:
            self._fetch(index)
        assert self._ahead is not None
        _, copies, ready = self._ahead
        self._ahead = None
        if ready is not None:
            present = torch.cuda.current_stream(self.device)
            present.wait_event(ready)
            for copy in copies:
                copy.record_stream(present)
        self.parts[index].come(copies)
        self._here.add(index)
        del copies
        self._fetch((index + 1) % len(self.parts))

    def _after(self, module: nn.Module, _arguments: Any, _result: Any) -> None:
        index = self._order[id(module)]
        if self._copier is not None:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(self.device))
        self.parts[index].leave()
        self._here.discard(index)
