"""Out-of-memory errors, free memory, and the allocator's cache."""

from __future__ import annotations

import gc

import torch

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "bad alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error: each library words it differently."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that a process could still allocate on a device; None where that is unknown (CPUs)."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + idle
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return None


def empty_cache(device: torch.device) -> None:
    """Return unused blocks of the allocator to the device, after collecting garbage."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
