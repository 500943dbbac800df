"""Whether a run may continue with a recipe that has changed since it began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from starvsr.errors import DataError
from starvsr.training.config import TrainConfig
from starvsr.training.recipe import current_tree, recipe_tree, stored_recipe

_HARMLESS = ("run.log_", "run.save_", "run.keep_", "run.validat", "run.sample_", "run.tensorboard", "run.wandb")
_HARMLESS_DATA = ("data.workers", "data.cache", "data.validation_videos", "models")


def check_changes(folder: Path, config: TrainConfig, old: Mapping[str, Any], step: int, *, allow: bool) -> list[str]:
    """Compare a recipe with the one that a run began with.

    Args:
        folder: Folder of the run, for the message.
        config: The recipe now.
        old: The recipe then, as a plain tree, of this release or an older one.
        step: How far the run is.
        allow: Whether changes in what is already trained are accepted.

    Returns:
        What changed, in words.

    Raises:
        DataError: something changed that may not.
    """
    new, old = _plain(config), _with_defaults(old)
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


def _with_defaults(old: Mapping[str, Any]) -> dict[str, Any]:
    """Give a stored recipe the keys that it is older than, at their defaults: setting one of them is a change, too."""
    try:
        return _plain(stored_recipe(old))
    except DataError:  # keys that this release has no longer: what both know is compared
        return current_tree(old)


def _plain(config: TrainConfig) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps(recipe_tree(config)))
    return tree


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


def differences(old: Any, new: Any, where: str = "") -> dict[str, tuple[Any, Any]]:
    """Compare two recipes as plain trees: {dotted key: (old, new)}, None where one has no such entry.

    What only one of them has is no difference, but for the network's sizes and whole stages.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [key for key in new if key in old] if where != "network" else list(dict.fromkeys((*old, *new)))
        pairs = [(str(key), old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and where == "stage":
        longest = max(len(old), len(new))
        before, after = ([*stages, *[None] * (longest - len(stages))] for stages in (old, new))
        pairs = [(str(i), before[i], after[i]) for i in range(longest)]
    else:
        same = list(old) == list(new) if isinstance(old, list | tuple) and isinstance(new, list | tuple) else old == new
        return {} if same else {where: (old, new)}
    found: dict[str, tuple[Any, Any]] = {}
    for key, a, b in pairs:
        found |= differences(a, b, f"{where}.{key}" if where else key)
    return found
