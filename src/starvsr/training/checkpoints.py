"""Checkpoints of a training run: whole or not there, the last one found again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from starvsr.errors import OutputNotWritableError, WeightsError

_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write ``state`` as the checkpoint of ``step`` and delete all but the newest ``keep``.

    The file has its name only when it is whole and on the disk, so that neither a kill nor a power cut leaves half
    a checkpoint; the ones before go only then.

    Raises:
        OutputNotWritableError: the disk is full or closed to us.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, step)
    partial = folder / f".{path.name}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OutputNotWritableError(
            f"cannot write the checkpoint {path}: {error}; free some space and --resume"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(folder)
    for old in sorted(folder.glob(_PATTERN))[:-keep]:
        old.unlink()
        shutil.rmtree(readable_folder(old), ignore_errors=True)
    return path


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}.pt"


def readable_folder(checkpoint: Path) -> Path:
    """Return the folder of what a checkpoint holds for other programs."""
    return checkpoint.with_suffix("")


def _sync_folder(folder: Path) -> None:
    """Make a rename last; systems without handles of folders do it by themselves."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
