"""Weight placement: resident on the device, there only while in use (offload), or streamed module by module.

What leaves the device is not copied back: the host keeps the weights, pinned where the device can read them directly,
and results do not depend on the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from starvsr.offload.memory_plan import Place


@dataclass(frozen=True)
class Component:
    """A network whose weights are placed as one.

    Args:
        module: The network; its weights lie in host memory, or on the device already.
        streamed: Its modules in the order in which they run, if it can be streamed module by module.
    """

    module: nn.Module
    streamed: Sequence[nn.Module] | None = None


class OffloadedModule:
    """Weights of a module that can be copied to a device and freed there."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        """Take the weights of a module, which lie in host memory (or on the device already, to stay)."""
        self.device = device
        self.slots = [(owner, name, tensor) for owner in module.modules() for name, tensor in _own(owner)]
        self._pinned = False

    @property
    def num_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.nbytes for _, _, tensor in self.slots)

    def pin(self) -> None:
        """Move the weights to pinned memory, so that copies overlap with computation; needs CUDA."""
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

    def onload(self, copies: list[Tensor] | None = None) -> None:
        """Let the module compute with copies on the device; None makes them now."""
        for (owner, name, _), copy in zip(self.slots, self.copies() if copies is None else copies, strict=True):
            _put(owner, name, copy)

    def offload(self) -> None:
        """Free the copies on the device."""
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
    """Where the weights of a model's components live.

    Args:
        components: The components by name; where the place is "stream", those that can be streamed are.
        device: Where they compute.
        place: See :data:`~starvsr.offload.memory_plan.Place`.
    """

    def __init__(self, components: Mapping[str, Component], device: torch.device, place: Place) -> None:
        self.place = place
        self._streams: dict[str, WeightStream] = {}
        self._modules: dict[str, OffloadedModule] = {}
        for name, component in components.items():
            if place == "stream" and component.streamed is not None:
                self._streams[name] = WeightStream(component.module, component.streamed, device)
            else:
                self._modules[name] = OffloadedModule(component.module, device)
            if component.streamed is not None and place == "offload":
                self._modules[name].pin()
        if place == "resident" and device.type != "cpu":
            for module in self._modules.values():
                module.onload()

    @contextmanager
    def using(self, names: Iterable[str]) -> Iterator[None]:
        """Have the weights of these components on the device inside the block."""
        if self.place == "resident":
            yield
            return
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self._on_device(name))
            yield

    @contextmanager
    def _on_device(self, name: str) -> Iterator[None]:
        stream = self._streams.get(name)
        try:
            if stream is not None:
                stream.open()
            else:
                self._modules[name].onload()
            yield
        finally:
            if stream is not None:
                stream.close()
            else:
                self._modules[name].offload()

    def end(self) -> None:
        """Return all weights to the host, so that another placement can take over."""
        for stream in self._streams.values():
            stream.close()
            stream.unhook()
        for module in self._modules.values():
            module.offload()


class WeightStream:
    """Copies the weights of a network to its device module by module, the next one while the current one computes.

    Args:
        network: The network. Weights outside ``parts`` are few and stay on the device.
        parts: Modules in the order in which each call of the network runs them.
        device: Where the network computes.
    """

    def __init__(self, network: nn.Module, parts: Sequence[nn.Module], device: torch.device) -> None:
        self.device = device
        self.parts = [OffloadedModule(part, device) for part in parts]
        streamed = {id(owner) for part in self.parts for owner, _, _ in part.slots}
        self._rest = OffloadedModule(network, device)
        self._rest.slots = [slot for slot in self._rest.slots if id(slot[0]) not in streamed]
        self._order = {id(part): index for index, part in enumerate(parts)}
        self._copier = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ahead: tuple[int, list[Tensor], Any] | None = None
        self._done: Any = None  # event after the module that ended last
        self._onloaded: set[int] = set()
        for part in self.parts:
            part.pin()
        self._rest.pin()
        self._hooks = [part.register_forward_pre_hook(self._before) for part in parts]
        self._hooks += [part.register_forward_hook(self._after, always_call=True) for part in parts]

    def open(self) -> None:
        """Copy what stays on the device, and begin with the first module."""
        self._rest.onload()
        self._fetch(0)

    def close(self) -> None:
        """Free everything on the device."""
        self._ahead = None
        for index in list(self._onloaded):
            self.parts[index].offload()
        self._onloaded.clear()
        self._rest.offload()

    def unhook(self) -> None:
        """Remove the hooks from the network."""
        for hook in self._hooks:
            hook.remove()

    def _fetch(self, index: int) -> None:
        """Begin to copy a module's weights, concurrently with computation where the device can."""
        self._ahead = None  # free what was prefetched in vain before allocating more
        part = self.parts[index]
        if self._copier is None:
            self._ahead = index, part.copies(), None
            return
        if self._done is not None:
            self._done.synchronize()  # or the host would run ahead and allocate many modules
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
        self.parts[index].onload(copies)
        self._onloaded.add(index)
        del copies
        self._fetch((index + 1) % len(self.parts))

    def _after(self, module: nn.Module, _arguments: Any, _result: Any) -> None:
        index = self._order[id(module)]
        if self._copier is not None:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(self.device))
        self.parts[index].offload()
        self._onloaded.discard(index)
