"""Number types of the networks: which are fast on a device."""

from __future__ import annotations

import torch

from starvsr.errors import OptionError

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


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
    if precision == "bf16" and device == "cpu":
        check_bfloat16()
    return _DTYPES[precision]


def check_bfloat16() -> None:
    """Refuse bfloat16 on the CPU where some of PyTorch's layers would fail in the middle of the work.

    Raises:
        OptionError: ``ATEN_CPU_CAPABILITY`` forbids the instructions that oneDNN goes on using.
    """
    if fails_in_bfloat16():
        raise OptionError("bf16 fails while ATEN_CPU_CAPABILITY forbids what it needs: use fp32, or unset the variable")


def fails_in_bfloat16() -> bool:
    """Whether attention in bfloat16 fails on this CPU: oneDNN takes it on, and PyTorch may not prepare its input."""
    in_onednn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    return bool(in_onednn()) and not torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware, and PyTorch may use it.

    ``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` can forbid it: some layers would then fail, others take 25 times
    as long as in float32.
    """
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    in_hardware = any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)
    is_allowed = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    return in_hardware and torch.backends.cpu.get_cpu_capability().startswith("AVX512") and bool(is_allowed())
