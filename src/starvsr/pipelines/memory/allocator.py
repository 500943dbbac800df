"""What the machine can do: number types that are fast on a device, and the memory allocator's habits."""

from __future__ import annotations

import contextlib
import ctypes
import sys

import torch

from starvsr.errors import OptionError

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def choose_dtype(precision: str, device: str) -> torch.dtype:
    """Return the number type of the network.

    "auto" is float16 on CUDA, bfloat16 on CPUs with instructions for it (AVX512-BF16, AMX), else float32.

    Raises:
        OptionError: unknown word, or a type that is emulated, and thus far slower, on this device.
    """
    if precision == "auto":
        if device.startswith("cuda"):
            return torch.float16
        return torch.bfloat16 if device == "cpu" and has_fast_bfloat16() else torch.float32
    if precision not in _DTYPES:
        raise OptionError(f"unknown precision {precision!r}: use auto, {', '.join(_DTYPES)}")
    if precision == "fp16" and device == "cpu":
        raise OptionError("fp16 is slow on CPUs: use fp32 or bf16")
    return _DTYPES[precision]


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)


def keep_freed_memory() -> None:
    """Let glibc keep big freed blocks instead of giving each back to the system.

    A network frees and takes the same blocks over and over, and fresh pages for each cost time. Blocks above
    32 MB, whole segments of frames, are still given back. Does nothing elsewhere than on Linux with glibc.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


def give_back_memory() -> None:
    """Give all pages that are free now back to the system, those between used blocks too; see above for where.

    Called between pieces of work that each take a second or so, it costs little and keeps what one left behind
    from adding to what the next one takes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
