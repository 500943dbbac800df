"""Checkpoints of a training run: whole or not there, the last one found again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from starvsr.errors import WeightsError

_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``state`` as the checkpoint of ``step`` and delete all but the newest ``keep``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    partial = folder / f".{path.name}.{os.getpid()}.partial"
    torch.save(state, partial)
    os.replace(partial, path)
    for old in sorted(folder.glob(_PATTERN))[:-keep]:
        old.unlink()
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, or None."""
    return max(folder.glob(_PATTERN), default=None)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, no code.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"cannot read the checkpoint {path}: {error}; delete it to use the one before") from error
    return state
