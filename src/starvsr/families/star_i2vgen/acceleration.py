"""Kernels: which attention kernel torch takes, and blocks compiled by torch.compile; the sums are the same.

Both are options, since which one is fastest depends on the device. What a device does not support is refused
(attention) or left out with a note (compiling), never silently replaced.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from starvsr.errors import OptionError
from starvsr.models.star.blocks import Downsample, ResBlock, SpatialTransformer, TemporalTransformer, Upsample

Scope = Callable[[], AbstractContextManager[object]]
"""Makes a context inside which the network is called."""

_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
ATTENTION = ("auto", *_BACKENDS)
"""Attention kernels by the names that options use; auto leaves the choice to torch."""

COMPILE = ("default", "reduce-overhead", "max-autotune")
"""Modes of torch.compile; reduce-overhead records CUDA graphs, so that a step costs no launches."""

COMPILED = (ResBlock, SpatialTransformer, TemporalTransformer, Downsample, Upsample)
"""Blocks that are compiled, one kind and size once: the same code serves all blocks of its kind."""

_VARIANTS = 64  # of one kind of block: sizes of the levels times shapes of the job; torch's own limit is 8


def attention_scope(word: str, device: torch.device | str, dtype: torch.dtype, head_dim: int) -> Scope:
    """Return the context in which attention takes the kernel of this name.

    Args:
        word: One of ``ATTENTION``.
        device: Where the network computes.
        dtype: What it computes in.
        head_dim: Features of a head.

    Raises:
        OptionError: there is no such kernel here.
    """
    if word == "auto":
        return nullcontext
    if word not in _BACKENDS:
        raise OptionError(f"unknown attention {word!r}: use {', '.join(ATTENTION)}")
    backend = _BACKENDS[word]
    trial = torch.zeros(1, 1, 8, head_dim, device=device, dtype=dtype)
    try:
        with warnings.catch_warnings(), sdpa_kernel(backend):
            warnings.simplefilter("ignore")  # torch warns why each kernel cannot be used
            F.scaled_dot_product_attention(trial, trial, trial)
    except RuntimeError as error:
        raise OptionError(
            f"--attention {word} is not available on {device} with {str(dtype).removeprefix('torch.')}: use auto"
        ) from error
    return lambda: sdpa_kernel(backend)


class CompiledNetwork:
    """A network whose blocks are compiled at their first call; called like the network itself.

    When compiling fails, the blocks are restored, the call is repeated, and :attr:`notes` says so.

    Args:
        network: The network; compiled in place.
        mode: One of ``COMPILE``.
        backend: Compiler, by torch's names.
    """

    def __init__(self, network: nn.Module, mode: str, *, backend: str | Callable[..., Any] = "inductor") -> None:
        self.notes: list[str] = []
        self._network, self.mode = network, mode
        self._compiled: list[nn.Module] = []
        _allow_variants()
        settings: dict[str, Any] = {"mode": mode} if backend == "inductor" else {}
        for module in network.modules():
            if isinstance(module, COMPILED):
                module.forward = torch.compile(module.forward, backend=backend, dynamic=False, **settings)  # type: ignore[method-assign]
                self._compiled.append(module)

    def __call__(self, *inputs: Any, **named: Any) -> Tensor:
        """Call the network."""
        if self._compiled:
            if self.mode == "reduce-overhead":
                torch.compiler.cudagraph_mark_step_begin()
            try:
                out: Tensor = self._network(*inputs, **named)
                return out
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self._undo(error)
        plain: Tensor = self._network(*inputs, **named)
        return plain

    def _undo(self, error: Exception) -> None:
        for module in self._compiled:
            del module.forward
        self._compiled.clear()
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
        self.notes.append(
            f"--compile {self.mode} does not work here ({reason[:120]}): continued without it, with the same result"
        )


def _allow_variants() -> None:
    """Let torch keep as many compiled forms of a block as the network has sizes of it."""
    import torch._dynamo as dynamo

    name = "recompile_limit" if hasattr(dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(dynamo.config, name, max(_VARIANTS, getattr(dynamo.config, name)))
