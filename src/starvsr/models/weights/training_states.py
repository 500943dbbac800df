"""Tensors of a checkpoint that a training framework wrote: beside them lie pickled states, which are passed over.

DeepSpeed and SwissArmyTransformer (SAT) keep random number generators, options and counters in the same pickle as the
weights. Nothing of that is imported or called here: whatever is no tensor becomes an inert object. A file that names
anything else than training frameworks keep is refused with these names, as `tensors` does.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starvsr.errors import WeightsError
from starvsr.models.weights.pickles import unneeded_names

_SHOWN = 5
_STATE_LIBRARIES = frozenset(
    {
        "numpy",
        "torch",
        "deepspeed",
        "sat",
        "SwissArmyTransformer",
        "megatron",
        "apex",
        "omegaconf",
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "argparse",
        "collections",
        "_codecs",
        "copyreg",
        "random",
        "datetime",
        "pathlib",
        "enum",
        "types",
        "typing",
    }
)
"""Libraries whose objects training frameworks keep beside the weights."""

_STATE_BUILTINS = frozenset({"set", "frozenset", "complex", "bytearray", "slice", "range", "object", "dict", "list"})


class Unread:
    """Stands for an object that is not read: takes whatever a pickle does to it, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Unread:
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take any arguments."""

    def __call__(self, *_: Any, **__: Any) -> Unread:
        """Stand for the result, too."""
        return self

    def __setstate__(self, _: Any) -> None:
        """Take any state."""

    def __setitem__(self, _: Any, __: Any) -> None:
        """Take any item."""

    def append(self, _: Any) -> None:
        """Take any item."""

    def extend(self, _: Any) -> None:
        """Take any items."""

    def add(self, _: Any) -> None:
        """Take any item."""


def read_states(path: Path) -> Mapping[str, Any]:
    """Return the dictionary of a checkpoint: its tensors mapped from the file, other objects inert.

    Args:
        path: A file that `torch.save` wrote, in the zip format.

    Raises:
        WeightsError: It is missing, damaged, of another kind, or names what no training framework keeps.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: get the checkpoint again")
    try:
        states = unneeded_names(path)
        strange = [name for name in states if not _is_state(name)]
        is_script = not zipfile.is_zipfile(path) or any(
            name.endswith("constants.pkl") for name in zipfile.ZipFile(path).namelist()
        )
    except Exception as error:  # zipfile, zlib and pickletools have errors of their own
        raise _damaged(path, error) from error
    if strange:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise WeightsError(
            f"{path} is refused: besides tensors and the states of a training it wants to call "
            f"{', '.join(strange[:_SHOWN])}{more}, and such a file can run any program on this machine; nothing of it "
            "was run; get it from its authors again"
        )
    if is_script:
        raise WeightsError(f"{path} is no checkpoint in the zip format of torch.save: get it from its authors again")
    inert: list[Any] = [(Unread, name) for name in states]
    try:
        with torch.serialization.safe_globals(inert):
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # whatever a damaged file leads to
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds no dictionary of states: get the checkpoint again")
    return content


def tensors_under(path: Path, *keys: str) -> dict[str, Tensor]:
    """Return the tensors by name that a checkpoint holds under the first of these keys that it has.

    Raises:
        WeightsError: See `read_states`; or there are no tensors under these keys.
    """
    states = read_states(path)
    found = next((states[key] for key in keys if isinstance(states.get(key), Mapping)), None)
    if found is None:
        shown = ", ".join(str(key) for key in list(states)[:_SHOWN])
        raise WeightsError(f"{path} has no {' or '.join(keys)} (it has {shown}): give the checkpoint of a model")
    tensors = {str(name): value.detach() for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} has no tensors in {' or '.join(keys)}: give the checkpoint of a model")
    return tensors


def _is_state(name: str) -> bool:
    module, _, last = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return last in _STATE_BUILTINS
    return module.partition(".")[0] in _STATE_LIBRARIES


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return WeightsError(f"cannot read the weights {path} ({reason}): damaged or cut off; get the file again")
