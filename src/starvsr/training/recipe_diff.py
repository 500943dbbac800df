"""Whether a run may go on with a recipe that has changed since it began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

from starvsr.errors import DataError
from starvsr.training.config import TrainConfig, differences

_HARMLESS = ("run.log_", "run.save_", "run.keep_", "run.validat", "run.sample_", "run.tensorboard", "run.wandb")
_HARMLESS_DATA = ("data.workers", "data.cache", "data.validation_videos", "models")


def check_changes(folder: Path, config: TrainConfig, old: Mapping[str, Any], step: int, *, allow: bool) -> list[str]:
    """Compare a recipe with the one that a run began with.

    Args:
        folder: Folder of the run, for the message.
        config: The recipe now.
        old: The recipe then, as a plain tree.
        step: How far the run is.
        allow: Whether changes in what is already trained are accepted.

    Returns:
        What changed, in words.

    Raises:
        DataError: something changed that may not.
    """
    new = json.loads(json.dumps(asdict(config)))
    notes: list[str] = []
    serious: list[str] = []
    for key, (was, now) in differences(old, new).items():
        text = f"{key}: {was!r} -> {now!r}" if not isinstance(was or now, dict) else f"{key}: another stage"
        (notes if _may_change(config, key, step) else serious).append(text)
    if serious and not allow:
        raise DataError(
            f"{folder} was begun with another recipe ({'; '.join(serious)}): take the change back, begin in "
            "another folder with --start-from, or go on all the same with --allow-changes"
        )
    return notes + serious


def _may_change(config: TrainConfig, key: str, step: int) -> bool:
    """Whether a change leaves what was trained so far as it was: bookkeeping, and stages not begun."""
    if key.startswith((*_HARMLESS, *_HARMLESS_DATA)):
        return True
    if not key.startswith("stage."):
        return False
    ends = list(accumulate(stage.steps for stage in config.stage))
    number = int(key.split(".")[1])
    if number >= len(ends):
        return False  # a stage went away
    stage = config.stage[number]
    grows = key.endswith(".steps") and stage.schedule == "constant" and ends[number] >= step
    return ends[number] - stage.steps >= step or grows
