"""A stage of training on torch's meta device, where tensors have shapes and no values: what a memory plan counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from starvsr.offload.trace import FusedAttention, saved_bytes
from starvsr.training.parts import NamedParts

Checkpoint = Callable[..., Any]
"""Runs a function that is computed again in the backward pass: (function, *its arguments, use_reentrant=...)."""


@dataclass(frozen=True, kw_only=True)
class StageSketch:
    """A stage of a family's training for one clip, or for some at once.

    Args:
        network: On the meta device.
        parts: Its parts by name.
        inputs: What it is called with, on the meta device, for a batch of ``clips``.
        blocks: Parts that run one after the other.
        recompute: Makes the network run its blocks by a checkpoint function; None for one that cannot.
        halves_constant: Whether matrices that no stage trains are held in the type of the run.
        fixed: Bytes of the parts beside the network, whole on every device.
        decoding: Bytes that the backward pass through the decoder needs.
        clips: Samples that the network is called with at once.
    """

    network: nn.Module
    parts: NamedParts
    inputs: tuple[Tensor, ...]
    blocks: list[nn.Module]
    recompute: Callable[[Checkpoint], None] | None = None
    halves_constant: bool = False
    fixed: int = 0
    decoding: int = 0
    clips: int = 1


class BlockRecorder:
    """Stands in for ``torch.utils.checkpoint.checkpoint`` and counts what recomputing a block keeps."""

    def __init__(self) -> None:
        self._inputs: dict[int, Tensor] = {}
        self._inside: list[int] = []

    def __call__(
        self, function: Callable[..., Tensor], block: nn.Module, features: Tensor, *others: Any, use_reentrant: bool
    ) -> Tensor:
        """Run a block, remembering its input and what autograd would keep inside it."""
        self._inputs[features.untyped_storage()._cdata] = features
        with saved_bytes(block) as inside:
            out = function(block, features, *others)
        self._inside.append(sum(inside.values()))
        return out

    @property
    def num_bytes(self) -> int:
        """The inputs of all blocks, and the inside of the one that keeps the most."""
        held = sum(features.untyped_storage().nbytes() for features in self._inputs.values())
        return held + max(self._inside, default=0)


def kept_bytes(
    network: nn.Module, inputs: tuple[Tensor, ...], recompute: Callable[[Checkpoint], None] | None = None
) -> int:
    """Count the float32 bytes that autograd keeps for the backward pass of a network on the meta device.

    With ``recompute``: the inputs of all blocks, and the inside of the hungriest one.
    """
    recorder = BlockRecorder()
    if recompute is not None:
        recompute(recorder)
    with FusedAttention(), saved_bytes(network) as kept:
        network(*inputs)
    return sum(kept.values()) + recorder.num_bytes
