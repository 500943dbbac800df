"""Sizes of the network that a file of weights was trained with, where they differ from those of the model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from starvsr.errors import WeightsError
from starvsr.models.weights.tensors import read_metadata

Sizes = TypeVar("Sizes")


def with_stored_sizes(base: Sizes, path: Path) -> Sizes:
    """Return the sizes of a network (a dataclass) with the changes in a file's metadata (``network``, in JSON).

    Raises:
        WeightsError: the file is missing or damaged, or its sizes make no sense.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give the path of a .safetensors file of `starvsr export`")
    try:
        stored: dict[str, Any] = json.loads(read_metadata(path).get("network", "{}"))
        changes = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except (AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} names sizes that its network does not have ({error}): export it again") from error
