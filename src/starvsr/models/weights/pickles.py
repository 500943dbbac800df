"""What a pickle would run, found out without running it.

A `.pt` file is a pickle, and a pickle can call anything. Weights need a handful of names only; a file that asks for
more is refused before it is opened. The check is our own, so that it holds whatever version of torch reads the file.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_STORAGES = ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]
NEEDED = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.Size",
        "torch.bfloat16",
        "torch.device",
        "torch.float16",
        "torch.float32",
        "torch.storage.UntypedStorage",
        *(f"torch.{name}Storage" for name in _STORAGES),
    }
)
"""The names that tensors and the dictionaries around them need."""

_LEGACY_PICKLES = 5  # of a file older than the zip format: magic, protocol, system, object, keys of the storages
_KEEPS = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}  # leave the stack as it is


def unneeded_names(path: Path) -> list[str]:
    """Return the names a `.pt` file would import although weights do not need them, each once.

    Raises:
        ValueError: the file is no pickle, or is cut off.
        OSError: it cannot be read.
    """
    found: dict[str, None] = {}
    try:
        for name in _all_names(path):
            found[name] = None
    except Exception:
        if not found.keys() - NEEDED:  # a damaged file that wants more is refused for that, not for the damage
            raise
    return [name for name in found if name not in NEEDED]


def _all_names(path: Path) -> Iterator[str]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                yield from _names(file)
        return
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        if not any(name.rpartition("/")[2] == "data.pkl" for name in pickles):
            raise ValueError("an archive without data.pkl")
        for name in pickles:
            with archive.open(name) as file:
                yield from _names(file)


def _names(file: IO[bytes]) -> Iterator[str]:
    """Yield every dotted name that the next pickle of a file imports."""
    texts: list[str] = []  # strings pushed one after the other; STACK_GLOBAL takes two
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:]) if len(texts) > 1 else "(a name put together while reading)"
        elif opcode.name.startswith("EXT"):
            yield f"(registered extension {argument})"
        if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST"):
            texts.append(argument)
        elif opcode.name not in _KEEPS:
            texts.clear()
