"""A student of few steps: its exported weights say that they can be sampled, and `upscale --steps` takes them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from starvsr.apps.cli import main
from starvsr.families import registry
from starvsr.models.weights import read_metadata
from starvsr.training.recipe import load_recipe
from starvsr.video.codec_pass import read_clip, write_lossless
from tests.training.tiny import TINY, write_recipe

SHORT = ("stage.0.steps=1", "stage.1.steps=1", "stage.1.objective=consistency", "stage.1.losses.adversarial=0.0")


def test_a_student_is_upscaled_with_in_one_step_and_in_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(registry.MODELS, "star-small", dataclasses.replace(TINY, name="star-small"))
    recipe, clip = write_recipe(tmp_path), tmp_path / "clip.mkv"
    words = [f"--override={word}" for word in (*SHORT, "model=star-small", "data.workers=0", "run.save_every=2")]
    assert main(["train", str(recipe), "-o", str(tmp_path / "student"), *words]) == 0
    student = tmp_path / "student" / "star-small.safetensors"
    assert read_metadata(student)["samples"] == "true"
    only_one = [*words, "--override=stage.1.objective=one-step"]
    assert main(["train", str(recipe), "-o", str(tmp_path / "one"), *only_one]) == 0
    assert "samples" not in read_metadata(tmp_path / "one" / "star-small.safetensors")
    write_lossless(clip, np.random.default_rng(0).integers(0, 255, (2, 12, 16, 3), np.uint8))
    made = []
    for steps in ("1", "4"):
        out = tmp_path / f"{steps}.mkv"
        assert main(["upscale", str(clip), "-o", str(out), "--weights", str(student), "--steps", steps]) == 0
        made.append(read_clip(out))
    assert made[0].shape == (2, 48, 64, 3) and not np.array_equal(*made)
    capsys.readouterr()
    one = ["--weights", str(tmp_path / "one" / "star-small.safetensors"), "--steps", "4"]
    assert main(["upscale", str(clip), "-o", str(tmp_path / "x.mkv"), *one]) == 1
    assert "--steps" in capsys.readouterr().err


def test_the_recipe_says_what_the_test_does() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "star-small-few-steps.toml")
    assert recipe.stage[-1].objective == "consistency" and recipe.run.validation_steps == 4
