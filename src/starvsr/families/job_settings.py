"""The settings of a job, from its options and a loaded model; what the model cannot honour is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

from starvsr.engine.traits import Traits
from starvsr.engine.upscaler import JobSettings, Upscaler
from starvsr.errors import OptionError
from starvsr.families.devices import choose_device
from starvsr.families.options import UpscaleOptions, default_of, model_options
from starvsr.families.settings import PROMPT_SOURCES
from starvsr.options import flag_name


def complete_options(upscaler: Upscaler, options: UpscaleOptions, named: Collection[str] = ()) -> UpscaleOptions:
    """Return the options with what the model was loaded with, so that records of the job say what was done.

    Args:
        upscaler: The loaded model.
        options: What the user asked for.
        named: Names of the options that were given by name, even with their default.

    Raises:
        OptionError: The model, its weights, precision or device were asked for as it was not loaded.
    """
    changes: dict[str, Any] = {}
    if ("model" in named or options.model != default_of("model")) and options.model != upscaler.name:
        raise OptionError(
            f"--model {options.model} was asked for and {upscaler.name} is loaded: leave out one of the two"
        )
    if options.model != upscaler.name:
        changes["model"] = upscaler.name
    if options.device != "auto" and not _same_device(choose_device(options.device), upscaler.device):
        raise OptionError(
            f"--device {options.device} was asked for and {upscaler.name} is loaded on {upscaler.device}: load it there"
        )
    loads = upscaler.traits_for({}).loads
    for name, _ in model_options():
        asked, loaded = getattr(options, name), upscaler.loaded_with.get(name)
        if name in loads and asked != default_of(name) and not _same(asked, loaded):
            with_what = f"with {flag_name(name)} {loaded}" if loaded is not None else f"without {flag_name(name)}"
            raise OptionError(
                f"{flag_name(name)} {asked} was asked for and {upscaler.name} is loaded already, {with_what}: load it "
                f"with {flag_name(name)}, or leave that out"
            )
        if asked == default_of(name) and loaded is not None and loaded != asked:
            changes[name] = str(loaded) if isinstance(loaded, Path) else loaded
    return dataclasses.replace(options, **changes) if changes else options


def job_settings(
    upscaler: Upscaler, options: UpscaleOptions, enlargement: Fraction | float | None = None
) -> tuple[JobSettings, Traits]:
    """Return what a job asks of a model, and the traits of the model with these settings.

    Args:
        upscaler: The loaded model.
        options: As `complete_options` returns them.
        enlargement: How many times larger the output is; None: ``options.scale`` times.

    Raises:
        OptionError: An option was given that the model does not honour, or that contradicts another.
    """
    plain = upscaler.traits_for({})
    values = {name: getattr(options, name) for name, _ in model_options()}
    given = {name: value for name, value in values.items() if value != default_of(name)}
    given.pop("seed", None)  # asks for the same bytes again, which a model without noise gives anyway
    if blended_detail(upscaler, options) is not None:
        given.pop("detail")
    if given.get("steps") == plain.num_steps and "steps" not in plain.accepts:
        given.pop("steps")  # what it does anyway
    for name in given:
        if name not in plain.accepts | plain.loads:
            raise OptionError(f"model {upscaler.name} has no use for {flag_name(name)}: leave it out")
    job = {name: value for name, value in given.items() if name in plain.accepts and name not in PROMPT_SOURCES}
    num_steps = job.pop("steps", None)
    traits = upscaler.traits_for(job)
    settings = JobSettings(
        scale=_network_scale(upscaler.name, traits, options.scale if enlargement is None else enlargement),
        num_steps=num_steps or traits.num_steps,
        seed=options.seed or 0,
        values=job,
    )
    return settings, traits


def blended_detail(upscaler: Upscaler, options: UpscaleOptions) -> float | None:
    """Return the share of the model's result in finished frames; None where the model itself honours ``detail``.

    Args:
        upscaler: The loaded model.
        options: As `complete_options` returns them.
    """
    traits = upscaler.traits_for({})
    return None if "detail" in traits.accepts | traits.loads else options.detail


def plain_settings(upscaler: Upscaler, *, seed: int = 0, num_steps: int | None = None, **values: Any) -> JobSettings:
    """Return settings for a model's use on tensors, without a job: its largest scale."""
    values = {**{n: v for n, v in upscaler.loaded_with.items() if n in upscaler.traits_for({}).accepts}, **values}
    traits = upscaler.traits_for(values)
    return JobSettings(traits.scales[-1], num_steps or traits.num_steps, seed, values)


def _network_scale(name: str, traits: Traits, wanted: Fraction | float) -> int:
    for scale in traits.scales:
        if wanted <= scale:
            return scale
    raise OptionError(f"model {name} enlarges {traits.scales[-1]} times at most: give a smaller --scale")


def _same(asked: Any, loaded: Any) -> bool:
    if loaded is None:
        return bool(asked == "auto")
    if isinstance(loaded, Path) or isinstance(asked, Path):
        return Path(asked).resolve() == Path(loaded).resolve()
    return bool(asked == loaded)


def _same_device(one: str, other: str) -> bool:
    kinds = one.partition(":"), other.partition(":")
    return kinds[0][0] == kinds[1][0] and (not kinds[0][2] or not kinds[1][2] or one == other)
