"""All options together: those of every job, and those of the families, which the engine's options do not know."""

from __future__ import annotations

import dataclasses

import pytest

from starvsr.errors import OptionError
from starvsr.families.options import UpscaleOptions, model_options, option_infos
from starvsr.families.settings import PROMPT_SOURCES, PrecisionSettings, SamplingSettings, job_names, load_names
from starvsr.families.star_i2vgen.settings import StarI2VGenSettings
from starvsr.families.star_small.settings import StarSmallSettings
from starvsr.options import JobOptions
from starvsr.options.info import option


def test_the_options_of_every_job_know_no_family() -> None:
    general = {field.name for field in dataclasses.fields(JobOptions)}
    assert general.isdisjoint(name for name, _ in model_options())
    assert general | {name for name, _ in model_options()} == {name for name, _ in option_infos()}
    with pytest.raises(TypeError):
        JobOptions(prompt="a barn")  # type: ignore[call-arg]


@pytest.mark.parametrize("family", [StarI2VGenSettings, StarSmallSettings])
def test_every_option_of_a_family_is_an_option_of_upscaling_with_the_same_description(family: type) -> None:
    all_options = dict(option_infos())
    for field in dataclasses.fields(family):
        assert all_options[field.name] is field.metadata["option"]
    assert {f.name for f in dataclasses.fields(family)} == job_names(family) | load_names(family) | {"seed"}


def test_the_order_of_records_is_kept() -> None:
    """Provenance is written into outputs in this order: to change it changes bytes."""
    names = [name for name, _ in option_infos()]
    first = ["model", "scale", "weights", "steps", "seed", "detail", "prompt", *PROMPT_SOURCES, "window", "precision"]
    assert names[:13] == first
    assert names.index("compile") < names.index("color") < names.index("exact") < names.index("deinterlace")


def test_an_option_of_a_family_is_declared_in_one_place() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own(PrecisionSettings, SamplingSettings):
        strength: float | None = option(None, "How much.", "Model", "float", minimum=0, maximum=1)

    @dataclasses.dataclass(frozen=True)
    class Together(UpscaleOptions, Own):
        pass

    assert job_names(Own) == {"steps", "strength"} and load_names(Own) == {"weights", "precision"}
    options = Together(strength="0.5")  # type: ignore[arg-type]
    assert options.strength == 0.5 and options.as_flags() == ["--strength", "0.5"]
    with pytest.raises(OptionError, match="--strength"):
        Together(strength=2)


def test_what_most_users_give_comes_first() -> None:
    names = [name for name, _ in option_infos()]
    assert names[:5] == ["model", "scale", "weights", "steps", "seed"]
