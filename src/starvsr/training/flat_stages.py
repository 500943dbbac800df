"""Stages of older releases, whose keys all stood in `[[stage]]` itself: brought into the tables of today."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from starvsr.errors import DataError
from starvsr.training.objectives import OBJECTIVES

_PLACES: dict[str, tuple[str, ...]] = {
    "velocity_every": ("one_step.velocity_every", "distillation.velocity_every"),
    "df_weight": ("losses.frequency",),
    "df_alpha": ("frequency.alpha",),
    "df_schedule": ("velocity.frequency_schedule",),
    "df_separation": ("frequency.separation",),
    "df_weighting": ("frequency.weighting",),
    "df_cutoff": ("frequency.cutoff",),
    "df_gradient": ("frequency.gradient",),
    "decode_slice": ("velocity.decode_slice", "one_step.decode_slice", "distillation.decode_slice"),
    "pixel_weight": ("losses.pixel",),
    "psnr_weight": ("losses.psnr",),
    "temporal_weight": ("losses.temporal",),
    "structure_weight": ("losses.structure",),
    "adversarial_weight": ("losses.adversarial",),
    "perceptual_weight": ("losses.perceptual",),
    "artefact_weight": ("losses.artefact",),
    "grid_weight": ("losses.grid",),
    "distillation_weight": ("losses.distillation",),
    "adversary": ("adversarial.critic",),
    "adversary_lr": ("adversarial.lr", "distillation.score_lr"),
    "perceptual_side": ("regression.excerpt_side",),
    "perceptual_frames": ("regression.excerpt_frames",),
    "sharpen_target": ("regression.sharpen_target",),
    "teacher": ("distillation.teacher", "regression.teacher"),
    "distillation_gap": ("distillation.gap",),
}
"""Flat key to where it stands today; of several places those that the objective has."""


def flat_keys(stage: Mapping[str, Any]) -> list[str]:
    """Return the keys of a stage that stand in tables today."""
    return [key for key in stage if key in _PLACES]


def with_tables(
    stage: Mapping[str, Any], *, where: str = "stage", replace: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Bring the flat keys of a stage into tables.

    A key that the stage's objective never read is left out.

    Args:
        stage: its tree; the objective must be known.
        where: what messages call it.
        replace: whether a flat key replaces what its table says already, as an override does.

    Returns:
        The stage with tables, and for each flat key what should be written instead.

    Raises:
        DataError: a flat key and its table say the same thing twice.
    """
    made = {key: dict(value) if isinstance(value, Mapping) else value for key, value in stage.items()}
    kinds = get_type_hints(OBJECTIVES[stage["objective"]].tables)
    changes = []
    for key in flat_keys(stage):
        value = made.pop(key)
        named = [(table, name) for table, _, name in (place.partition(".") for place in _PLACES[key])]
        places = [(table, name) for table, name in named if table in kinds and name in _fields(kinds[table])]
        if not places:
            changes.append(f"nothing for {where}.{key} (it has no effect on {stage['objective']})")
            continue
        for table, name in places:
            content = made.setdefault(table, {})
            if not isinstance(content, dict):
                raise DataError(f"recipe section {where}.{table} must be a table, not {content!r}")
            if name in content and not replace:
                raise DataError(f"{where}.{key} and {where}.{table}.{name} are the same: leave out {key}")
            content[name] = value
        table, name = places[-1]
        changes.append(f"{where}.{table}.{name} for {key}")
    own = next((made[table] for table in ("one_step", "distillation") if table in made), {})
    if (
        "velocity" in made
        and "velocity" not in stage
        and kinds.keys() & {"one_step", "distillation"}
        and not own.get("velocity_every")
    ):
        del made["velocity"]  # of velocity steps that there are none of
    return made, changes


def _fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}
