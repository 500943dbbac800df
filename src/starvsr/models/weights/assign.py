"""Tensors into a network: every name accounted for, and the tensors themselves become the parameters.

The network is built on torch's meta device, so it has no memory of its own; nothing is held twice. Where the number
type changes, each tensor is converted alone and the pages of the file behind it are released.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from starvsr.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)
_SHOWN = 5
_PAGE = 4096
_PAGE_OUT = 21  # MADV_PAGEOUT of Linux: writes back what was changed, so nothing can be lost


def build_empty(build: Callable[[], Network]) -> Network:
    """Return a network whose parameters have names and shapes but no memory."""
    with torch.device("meta"):
        return build()


def check_fit(
    wanted: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    where: Path | str,
    *,
    new: Collection[str] = (),
    dropped: Collection[str] = (),
) -> None:
    """Check names and shapes; only shapes are looked at, so both may lie on the meta device.

    Args:
        wanted: The network's tensors.
        given: The file's tensors.
        where: The file, for the message.
        new: Names that the file does not have, and must not have.
        dropped: Names that only the file has, and must have.

    Raises:
        WeightsError: names are missing, unexpected, or of another shape; the first few are named.
    """
    expected = {key for key in wanted if key not in new} | set(dropped)
    problems = []
    for word, keys in (
        ("missing", [key for key in [*wanted, *dropped] if key in expected and key not in given]),
        ("unexpected", [key for key in given if key not in expected]),
        (
            "of another shape",
            [key for key in wanted if key in expected and key in given and wanted[key].shape != given[key].shape],
        ),
        ("not of a floating type", [key for key, tensor in given.items() if not tensor.is_floating_point()]),
    ):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            problems.append(f"{len(keys)} {word} ({', '.join(keys[:_SHOWN])}{more})")
    if problems:
        raise WeightsError(f"{where} does not fit this model: tensors {'; '.join(problems)}; choose the right model")


def fit(network: nn.Module, tensors: dict[str, Tensor], where: Path | str, *, dtype: torch.dtype | None = None) -> None:
    """Make tensors the parameters of a network that was built empty. Names and shapes must be the same.

    Args:
        network: Built by :func:`build_empty`.
        tensors: By name; emptied, so that nothing is held twice.
        where: The file, for messages.
        dtype: Number type of the parameters; None keeps the file's.

    Raises:
        WeightsError: a name or a shape differs.
    """
    check_fit(network.state_dict(), tensors, where)
    adopt(network, tensors, dtype)


def adopt(network: nn.Module, tensors: dict[str, Tensor], dtype: torch.dtype | None) -> None:
    """Make checked tensors the parameters of a network; those it has no tensors for stay as they are."""
    if dtype is not None:
        for key, tensor in tensors.items():
            if tensor.dtype != dtype:
                tensors[key] = tensor.to(dtype)
                release_pages(tensor)
    network.load_state_dict(tensors, strict=False, assign=True)
    tensors.clear()


def release_pages(tensor: Tensor) -> None:
    """Release the memory of a tensor mapped from a file; reading it again would read the file again.

    Only whole pages inside the tensor, and only on Linux; elsewhere the system takes them when it needs memory.
    """
    if sys.platform != "linux" or tensor.device.type != "cpu" or not tensor.is_contiguous():
        return
    begin = -(-tensor.data_ptr() // _PAGE) * _PAGE
    length = (tensor.data_ptr() + tensor.nbytes - begin) // _PAGE * _PAGE
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), _PAGE_OUT)
