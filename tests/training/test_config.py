"""Recipes: those that ship are valid, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from starvsr.errors import DataError
from starvsr.training.config import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).stage


def test_there_are_recipes() -> None:
    assert RECIPES


def test_overrides_reach_every_level(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[[stage]]\nobjective = "velocity"\nsteps = 3\n')
    config = load_recipe(path, ["seed=7", "data.batch=2", "stage.0.lr=3e-4", "data.videos=clips", "run.ema=1"])
    assert (config.seed, config.data.batch, config.stage[0].lr, config.data.videos) == (7, 2, 3e-4, "clips")


@pytest.mark.parametrize(
    ("text", "overrides", "word"),
    [
        ("", [], "stage"),
        ("[[stage]]\nobjective = 'velocity'\n", [], "steps"),
        ("[[stage]]\nobjective = 'guess'\nsteps = 1\n", [], "velocity"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 'many'\n", [], "int"),
        ("colour = 1\n[[stage]]\nobjective = 'velocity'\nsteps = 1\n", [], "colour"),
        ("[[stage]\n", [], "TOML"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["data.batch"], "key=value"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["stage.5.lr=1"], "stage.5"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, overrides: list[str], word: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=word):
        load_recipe(path, overrides)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recipe"):
        load_recipe(tmp_path / "none.toml")
