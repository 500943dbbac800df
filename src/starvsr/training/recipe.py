"""Recipes from TOML and from checkpoints: read, every key checked, and written back as plain trees."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from starvsr.errors import DataError
from starvsr.training.config import DataConfig, RunConfig, StageConfig, TrainConfig
from starvsr.training.flat_stages import flat_keys, with_tables
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.objectives.tables import PixelStage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section")
OnNote = Callable[[str], None]


def print_note(text: str) -> None:
    """Tell something on standard error."""
    print(f"note: {text}", file=sys.stderr)


def load_recipe(path: Path, overrides: Sequence[str] = (), *, on_note: OnNote = print_note) -> TrainConfig:
    """Read a recipe.

    Args:
        path: a TOML file.
        overrides: "key=value" with dotted keys ("data.batch=2", "stage.1.lr=3e-4", "stage.0.losses.frequency=0"). One
            that names another objective leaves out what that does not read.
        on_note: gets words about keys of older releases.

    Raises:
        DataError: no such file, bad TOML, an unknown key, a key of another objective, or a value of the wrong type.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"no recipe at {path}: recipes/ holds those that come with starvsr") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not valid TOML: {error}") from error
    old = _translated(tree, replace=False)
    for override in overrides:
        left_out = _override(tree, override)
        if left_out:
            on_note(
                f"{override}: this objective does not read {', '.join(left_out)} of {path.name}, which are left out"
            )
    for source, changes in ((path.name, old), ("--override", _translated(tree, replace=True))):
        if changes:
            on_note(f"{source}: the next release will not know these keys, write {', '.join(changes)}")
    if not tree.get("stage"):
        raise DataError(f"{path} has no [[stage]]: a recipe needs at least one")
    return parse_recipe(tree)


def parse_recipe(tree: Mapping[str, Any]) -> TrainConfig:
    """Turn a plain tree into a recipe; stages have tables.

    Raises:
        DataError: an unknown key, a key of another objective, or a value of the wrong type.
    """
    rest = dict(tree)
    stages = tuple(parse_stage(stage, f"stage.{i}") for i, stage in enumerate(rest.pop("stage", ())))
    data = _section(DataConfig, rest.pop("data", {}), "data")
    run = _section(RunConfig, rest.pop("run", {}), "run")
    top = _section(TrainConfig, rest, "", stage=stages)
    return dataclasses.replace(top, data=data, run=run)


def make_stage(objective: str, steps: int, **keys: Any) -> StageConfig:
    """Make a stage of its keys; tables are mappings: ``make_stage("one-step", 9, losses={"structure": 0.1})``.

    Raises:
        DataError: as :func:`parse_recipe`.
    """
    return parse_stage({"objective": objective, "steps": steps, **keys}, "stage")


def stored_recipe(tree: Mapping[str, Any]) -> TrainConfig:
    """Return the recipe that a checkpoint holds, of this release or an older one.

    Raises:
        DataError: it holds keys that this release does not know.
    """
    return parse_recipe(current_tree(tree))


def current_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a checkpoint as a tree of this release: stages with tables."""
    stages = [with_tables(stage)[0] if flat_keys(stage) else stage for stage in tree.get("stage", ())]
    return {**tree, "stage": stages}


def recipe_tree(config: TrainConfig) -> dict[str, Any]:
    """Return a recipe as a plain tree, as TOML and checkpoints hold it: :func:`parse_recipe` takes it back."""
    tree = dataclasses.asdict(config)
    for stage, made in zip(tree["stage"], config.stage, strict=True):
        tables = stage.pop("tables")
        if isinstance(made.tables, PixelStage) and not made.tables.velocity_every:
            del tables["velocity"]
        stage |= tables
    return tree


def parse_stage(values: Any, where: str) -> StageConfig:
    """Turn a plain tree into a stage, see :func:`parse_recipe`."""
    if not isinstance(values, Mapping):
        raise DataError(f"recipe section {where} must be a table, not {values!r}")
    objective = values.get("objective")
    if objective not in OBJECTIVES:
        known = ", ".join(map(repr, OBJECTIVES))
        raise DataError(f"recipe key {where}.objective must be one of {known}, not {objective!r}")
    kinds = get_type_hints(OBJECTIVES[objective].tables)
    for key in values:
        owners = _owners(key)
        if key not in kinds and key not in _STAGE_KEYS and owners:
            raise DataError(
                f"recipe key {where}.{key} is for the objective {' or '.join(owners)}, and this stage's is "
                f"{objective}: leave it out"
            )
    tables = {}
    for name, kind in kinds.items():
        own = values.get(name, {})
        for key in own if isinstance(own, Mapping) else ():
            owners = [other for other in OBJECTIVES if key in _table_keys(other, name)]
            if owners and objective not in owners:
                raise DataError(
                    f"recipe key {where}.{name}.{key} is for the objective {' or '.join(owners)}, and this stage's is "
                    f"{objective}: leave it out"
                )
        tables[name] = _section(kind, own, f"{where}.{name}")
    common = {key: value for key, value in values.items() if key not in kinds}
    stage = _section(StageConfig, common, where, tables=OBJECTIVES[objective].tables(**tables))
    if "velocity" in values and isinstance(stage.tables, PixelStage) and not stage.tables.velocity_every:
        raise DataError(f"recipe key {where}.velocity is for velocity steps and there are none: leave it out")
    return stage


_STAGE_KEYS = frozenset(field.name for field in dataclasses.fields(StageConfig)) - {"tables"}


def _owners(key: str) -> list[str]:
    """Return the objectives that have a table of this name."""
    return [name for name, other in OBJECTIVES.items() if key in get_type_hints(other.tables)]


def _table_keys(objective: str, table: str) -> set[str]:
    kind = get_type_hints(OBJECTIVES[objective].tables).get(table)
    return set() if kind is None else {field.name for field in dataclasses.fields(kind)}


def _translated(tree: dict[str, Any], *, replace: bool) -> list[str]:
    """Bring flat keys of stages into their tables, in place; returns what should be written instead."""
    changes: list[str] = []
    stages = tree.get("stage", [])
    for number, stage in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(stage, dict) and stage.get("objective") in OBJECTIVES and flat_keys(stage):
            stages[number], found = with_tables(stage, where=f"stage.{number}", replace=replace)
            changes += found
    return changes


def _override(tree: dict[str, Any], override: str) -> list[str]:
    """Set a value of a recipe; returns the keys of a stage that another objective does not read, left out with it."""
    key, found, text = override.partition("=")
    if not found:
        raise DataError(f"override {override!r} must read key=value, for example data.batch=2")
    *parents, last = key.strip().split(".")
    node: Any = tree
    try:
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        node[last] = _value(text.strip())
    except (IndexError, ValueError, TypeError, AttributeError):
        raise DataError(f"override {override!r} names no part of the recipe") from None
    is_objective = len(parents) == 2 and parents[0] == "stage" and last == "objective"
    return _pruned(node) if is_objective and node[last] in OBJECTIVES else []


def _pruned(stage: dict[str, Any]) -> list[str]:
    """Take out of a stage what its objective does not read and another one does; returns the keys."""
    kinds, gone = get_type_hints(OBJECTIVES[stage["objective"]].tables), []
    for name in [name for name in stage if _owners(name)]:
        content = stage[name] if isinstance(stage[name], dict) else {}
        known = _table_keys(stage["objective"], name)
        gone += [f"{name}.{key}" for key in content if key not in known]
        if name not in kinds:
            del stage[name]
        elif content:
            stage[name] = {key: value for key, value in content.items() if key in known}
    return gone


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(kind: type[Section], values: Any, where: str, **made: Any) -> Section:
    """Check the keys and types of a table and make its dataclass; ``made`` are fields that are no plain values."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in made}
    if not isinstance(values, Mapping):
        raise DataError(f"recipe section {where} must be a table, not {values!r}")
    for key, value in values.items():
        name = f"{where}.{key}" if where else key
        if key not in hints:
            raise DataError(f"unknown recipe key {name}; known are {', '.join(hints)}")
        check_value(name, value, hints[key])
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return kind(**plain, **made)
    except TypeError as error:
        raise DataError(f"recipe section {where or 'top'}: {error}") from error


def check_value(name: str, value: Any, hint: Any) -> None:
    """Check a value of a recipe against a type, a Literal included.

    Raises:
        DataError: another type, or not one of the choices.
    """
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise DataError(f"recipe key {name} must be one of {', '.join(map(repr, get_args(hint)))}, not {value!r}")
        return
    if hint == tuple[str, ...] and not (isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)):
        raise DataError(f"recipe key {name} must be a list of words, not {value!r}")
    if hint == tuple[float, ...] and not (isinstance(value, list | tuple) and value and all(map(_is_number, value))):
        raise DataError(f"recipe key {name} must be a list of numbers, not {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return
    is_bool = isinstance(value, bool)
    if hint in (int, float, str, bool) and (not isinstance(value, hint) or is_bool != (hint is bool)):
        raise DataError(f"recipe key {name} must be of type {hint.__name__}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def with_changes(base: Section, changes: Mapping[str, Any]) -> Section:
    """Return the sizes of a network with a recipe's changes (its `[network]`).

    Raises:
        DataError: a change names no size of the network, or has a value of the wrong type.
    """
    known = get_type_hints(type(base))
    for name, value in changes.items():
        if name not in known:
            raise DataError(f"unknown recipe key network.{name}; known are {', '.join(sorted(known))}")
        check_value(f"network.{name}", value, known[name])
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in changes.items()}
    return dataclasses.replace(base, **values)  # type: ignore[type-var]
