"""Training on several processes: the process group, averaged gradients, sharded weights.

Started by torchrun (one host or many), which sets rank and world size as environment variables. Plain
torch.distributed: gradients are averaged once a step, after all accumulated batches, so there is nothing to
configure; a step of the large models takes tens of seconds and sending the gradients a fraction of one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from starvsr.errors import DataError

_BUCKET_VALUES = 1 << 25
"""Gradients are sent in pieces of about this many values (128 MiB)."""


@dataclass(frozen=True)
class Processes:
    """The group of processes that train together; a group of one costs nothing."""

    rank: int = 0
    world: int = 1
    device: torch.device | str = "cpu"
    begun_here: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    @classmethod
    def join(cls, device: str = "cpu") -> Processes:
        """Join the group that torchrun set up; alone without it. On GPUs each process takes the one of its number."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if device != "cpu":
            place = torch.device(device, int(os.environ.get("LOCAL_RANK", "0")))
            torch.get_device_module(place).set_device(place)
        else:
            place = torch.device(device)
        if world == 1:
            return cls(device=place)
        dist.init_process_group("gloo" if place.type == "cpu" else "nccl")
        return cls(dist.get_rank(), dist.get_world_size(), place, begun_here=True)

    def leave(self) -> None:
        """Leave the group, if :meth:`join` joined one."""
        if self.begun_here and dist.is_initialized():
            dist.destroy_process_group()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.world == 1:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is not None:
                bucket.append(parameter.grad)
                if sum(grad.numel() for grad in bucket) >= _BUCKET_VALUES:
                    self._average(bucket)
                    bucket = []
        if bucket:
            self._average(bucket)

    def _average(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([tensor.flatten().float() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Average named values over the processes; all must give the same names."""
        if self.world == 1 or not values:
            return dict(values)
        flat = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device).float()
        dist.all_reduce(flat)
        return dict(zip(values, (flat / self.world).tolist(), strict=True))


def split_weights(network: nn.Module, blocks: Iterable[nn.Module], processes: Processes) -> None:
    """Split weights, gradients and optimiser state over the processes (FSDP), block by block.

    Each process keeps its share; a block, one of the network's parts that run one after the other, is whole only while
    it runs.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(torch.device(processes.device).type, (processes.world,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be split over processes as a whole one; all processes must ask for it."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


def whole_state(module: nn.Module, but: Collection[str] = ()) -> dict[str, Tensor]:
    """Return a state dict of whole tensors, those named in ``but`` left out."""
    return {name: whole(value) for name, value in module.state_dict().items() if name not in but}


def load_whole_state(module: nn.Module, state: Mapping[str, Tensor], but: Collection[str] = ()) -> None:
    """Fill a module, split or not, from whole tensors; those named in ``but`` stay as they are.

    Raises:
        DataError: they are those of another network, such as one with LoRA of another rank.
    """
    own = {name: value for name, value in module.state_dict().items() if name not in but}
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is unknown" for name in state if name not in own]
    problems += [
        f"{name} is {list(state[name].shape)}, not {list(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(
            f"the checkpoint is of another network than the recipe's: {'; '.join(problems[:3])}{more}; take back what "
            "changed in network, model or trains, or begin in another folder"
        )
    for name, value in own.items():
        with torch.no_grad():
            value.copy_(split_like(state[name], value))


def split_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Split a whole tensor as another one is split."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    shared: Any = like
    return distribute_tensor(tensor.to(like.device), shared.device_mesh, shared.placements)


def whole_optimizer_state(network: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimiser's state as whole tensors by the names of parameters; all processes must ask for it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    return get_optimizer_state_dict(
        network, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )


def load_split_optimizer(network: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Fill an optimiser, split as its network is, from what :func:`whole_optimizer_state` returned."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    set_optimizer_state_dict(network, optimizer, state, options=StateDictOptions(full_state_dict=True))
