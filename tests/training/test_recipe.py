"""Recipes: those that ship are valid, mistakes are named, and those of older releases mean what they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from starvsr.errors import DataError
from starvsr.training.config import StageConfig, TrainConfig
from starvsr.training.objectives import OBJECTIVES
from starvsr.training.recipe import load_recipe, make_stage, parse_recipe, recipe_tree, stored_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))
RECIPES = [path for path in RECIPES if path.name != "rows.toml"]
NOTHING: list[str] = []
IMITATING = "[[stage]]\nobjective = 'regression'\nsteps = 1\n[stage.regression]\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "r.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_of_this_release(path: Path) -> None:
    notes: list[str] = []
    config = load_recipe(path, on_note=notes.append)
    assert config.stage and not notes
    assert parse_recipe(json.loads(json.dumps(recipe_tree(config)))) == config


def test_there_are_recipes() -> None:
    assert {"star-small", "star-2b", "causal-sr", "base", "prior"} <= {path.stem for path in RECIPES}


def test_overrides_reach_every_level(tmp_path: Path) -> None:
    path = _write(tmp_path, '[[stage]]\nobjective = "velocity"\nsteps = 3\n')
    words = ["seed=7", "data.batch=2", "stage.0.lr=3e-4", "data.videos=clips", "run.ema=1"]
    tables = ["stage.0.losses.frequency=0", "stage.0.frequency.separation=none"]
    config = load_recipe(path, [*words, *tables, 'run.validation_metrics=["weave"]'])
    assert (config.seed, config.data.batch, config.stage[0].lr, config.data.videos) == (7, 2, 3e-4, "clips")
    assert (config.stage[0].tables.losses.frequency, config.stage[0].tables.frequency.separation) == (0, "none")
    assert config.run.validation_metrics == ("weave",)


@pytest.mark.parametrize(
    ("text", "overrides", "word"),
    [
        ("", NOTHING, "stage"),
        ("[[stage]]\nobjective = 'velocity'\n", NOTHING, "steps"),
        ("[[stage]]\nobjective = 'guess'\nsteps = 1\n", NOTHING, "velocity"),
        ("[[stage]]\nsteps = 1\n", NOTHING, "objective must be one of"),
        ("stage = [3]\n", NOTHING, "stage.0 must be a table"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 'many'\n", NOTHING, "int"),
        ("colour = 1\n[[stage]]\nobjective = 'velocity'\nsteps = 1\n", NOTHING, "colour"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\nlosses = 3\n", NOTHING, "losses must be a table"),
        (
            "[[stage]]\nobjective = 'velocity'\nsteps = 1\nlosses = 3\ndf_weight = 1\n",
            NOTHING,
            "losses must be a table",
        ),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\ntables = 3\n", NOTHING, r"unknown recipe key stage\.0\.tables"),
        ("[[stage]\n", NOTHING, "TOML"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["data.batch"], "key=value"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["stage.5.lr=1"], "stage.5"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["stage.x.lr=1"], "names no part"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["stage.0.losses.frequency=much"], "of type float"),
        ("[[stage]]\nobjective = 'velocity'\nsteps = 1\n", ["run.validation_metrics=weave"], "list of words"),
        (IMITATING + "example_shares = 0.5\n", [], "example_shares must be a list of numbers, not 0.5"),
        (IMITATING + "example_shares = []\n", [], "list of numbers"),
        (IMITATING + "example_shares = [0.5, true]\n", [], "list of numbers"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, overrides: list[str], word: str) -> None:
    with pytest.raises(DataError, match=word):
        load_recipe(_write(tmp_path, text), overrides, on_note=lambda note: None)


@pytest.mark.parametrize(
    ("objective", "tables", "words"),
    [
        ("velocity", {"losses": {"structure": 0.1}}, "losses.structure is for the objective one-step or consistency"),
        ("one-step", {"losses": {"grid": 0.1}}, "losses.grid is for the objective regression, and this stage's is"),
        ("one-step", {"distillation": {"gap": 9}}, "stage.distillation is for the objective consistency or"),
        ("distribution-matching", {"distillation": {"gap": 9}}, "distillation.gap is for the objective consistency,"),
        ("consistency", {"distillation": {"score_lr": 1.0}}, "score_lr is for the objective distribution-matching"),
        ("regression", {"velocity": {"decode_slice": 2}}, "stage.velocity is for the objective velocity or star"),
        (
            "one-step",
            {"velocity": {"frequency_schedule": "linear"}},
            "velocity is for velocity steps and there are none",
        ),
        ("one-step", {"losses": {"beauty": 1}}, r"unknown recipe key stage\.losses\.beauty; known are pixel, psnr"),
        ("one-step", {"beauty": {"weight": 1}}, r"unknown recipe key stage\.beauty; known are objective, steps"),
    ],
)
def test_keys_of_another_objective_are_refused_with_its_name(objective: str, tables: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_stage(objective, 1, **tables)


def test_an_override_of_the_objective_leaves_out_what_the_new_one_does_not_read(tmp_path: Path) -> None:
    text = "[[stage]]\nobjective = 'one-step'\nsteps = 1\n[stage.losses]\nstructure = 0.1\nfrequency = 0.3\n"
    path = _write(tmp_path, text + "[stage.one_step]\ndecode_slice = 2\n")
    notes: list[str] = []
    (stage,) = load_recipe(path, ["stage.0.objective=velocity"], on_note=notes.append).stage
    assert stage.tables.losses.frequency == 0.3
    assert len(notes) == 1 and "losses.structure, one_step.decode_slice of r.toml" in notes[0]
    with pytest.raises(DataError, match=r"losses\.structure is for"):  # asked for after it
        load_recipe(path, ["stage.0.objective=velocity", "stage.0.losses.structure=1"], on_note=notes.append)


def test_velocity_steps_in_between_have_the_tables_of_their_own() -> None:
    stage = make_stage("one-step", 9, one_step={"velocity_every": 3}, velocity={"frequency_schedule": "exponential"},
                       losses={"frequency": 0.4}, frequency={"alpha": 1.0})  # fmt: skip
    at = [stage.objective_at(step) for step in range(6)]
    assert [name for name, _ in at] == ["one-step", "one-step", "velocity"] * 2
    between = at[2][1]
    assert type(between) is OBJECTIVES["velocity"].tables and between.losses.frequency == 0.4
    assert (between.velocity.frequency_schedule, between.frequency.alpha) == ("exponential", 1.0)
    assert stage.teaches_all_levels and not StageConfig("one-step", 1).teaches_all_levels


FLAT = """
[[stage]]
objective = "one-step"
steps = 2
velocity_every = 3
decode_slice = 2
df_weight = 0.4
df_alpha = 1.5
df_schedule = "exponential"
df_separation = "released"
df_weighting = "inverse"
df_cutoff = 0.2
df_gradient = false
pixel_weight = 0.5
psnr_weight = 0.02
temporal_weight = 0.3
structure_weight = 0.1
adversarial_weight = 0.05
adversary = "two-head"
adversary_lr = 1e-3
distillation_gap = 9

[[stage]]
objective = "distribution-matching"
steps = 2
teacher = "t.safetensors"
distillation_weight = 0.7
adversary_lr = 1e-3
decode_slice = 1

[[stage]]
objective = "consistency"
steps = 2
distillation_gap = 9

[[stage]]
objective = "regression"
steps = 2
perceptual_weight = 0.1
perceptual_side = 64
perceptual_frames = 3
sharpen_target = 0.5
artefact_weight = 0.2
grid_weight = 0.3
teacher = "t.safetensors"
"""

FREQUENCY = {"alpha": 1.5, "separation": "released", "weighting": "inverse", "cutoff": 0.2, "gradient": False}
WANTED = (
    make_stage(
        "one-step", 2, one_step={"velocity_every": 3, "decode_slice": 2}, frequency=FREQUENCY,
        velocity={"decode_slice": 2, "frequency_schedule": "exponential"},
        adversarial={"critic": "two-head", "lr": 1e-3},
        losses={"frequency": 0.4, "pixel": 0.5, "psnr": 0.02, "temporal": 0.3, "structure": 0.1, "adversarial": 0.05},
    ),
    make_stage(
        "distribution-matching", 2, losses={"distillation": 0.7}, adversarial={"lr": 1e-3},
        distillation={"teacher": "t.safetensors", "score_lr": 1e-3, "decode_slice": 1},
    ),
    make_stage("consistency", 2, distillation={"gap": 9}),
    make_stage(
        "regression", 2, losses={"perceptual": 0.1, "artefact": 0.2, "grid": 0.3},
        regression={"sharpen_target": 0.5, "excerpt_side": 64, "excerpt_frames": 3, "teacher": "t.safetensors"},
    ),
)  # fmt: skip


def test_flat_recipes_of_the_last_release_mean_the_same_and_say_what_to_write(tmp_path: Path) -> None:
    notes: list[str] = []
    config = load_recipe(_write(tmp_path, FLAT), on_note=notes.append)
    assert config.stage == WANTED
    (note,) = notes
    assert note.startswith("r.toml: the next release will not know these keys")
    assert "stage.0.losses.structure for structure_weight" in note
    assert "nothing for stage.0.distillation_gap (it has no effect on one-step)" in note


def test_flat_overrides_still_reach_tables(tmp_path: Path) -> None:
    path = _write(tmp_path, "[[stage]]\nobjective = 'one-step'\nsteps = 2\n[stage.losses]\nfrequency = 0.4\n")
    notes: list[str] = []
    (stage,) = load_recipe(path, ["stage.0.df_weight=0.1"], on_note=notes.append).stage
    assert stage.tables.losses.frequency == 0.1
    assert notes == [
        "--override: the next release will not know these keys, write stage.0.losses.frequency for df_weight"
    ]
    with pytest.raises(DataError, match=r"stage\.0\.df_weight and stage\.0\.losses\.frequency are the same"):
        load_recipe(_write(tmp_path, path.read_text().replace("steps = 2", "steps = 2\ndf_weight = 1")))


def test_recipes_in_checkpoints_of_the_last_release_mean_the_same() -> None:
    """There all flat keys stood, defaults and those of other objectives included."""
    path = Path(__file__).with_name("flat_config.json")
    stored = json.loads(path.read_text())
    config = stored_recipe(stored)
    assert isinstance(config, TrainConfig) and config.model == "causal-sr"
    (stage,) = config.stage
    assert stage == make_stage(
        "regression", 20000, schedule="constant", lr=1e-3, warmup=50, frequency={"separation": "none"},
        losses={"frequency": 0.3, "structure": 0.1, "temporal": 0.3},
    )  # fmt: skip


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recipe"):
        load_recipe(tmp_path / "none.toml")
