"""From the name of a model to a model that is ready, and from the word of a device to a device."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from starvsr.engine.upscaler import Upscaler
from starvsr.errors import OptionError
from starvsr.families.devices import choose_device
from starvsr.options import UpscaleOptions, flag_name

BASELINES = ("bicubic",)
LOADING = (
    "weights",
    "precision",
    "window",
    "prompt",
    "negative_prompt",
    "guidance",
    "guidance_interval",
    "guidance_pair",
    "step_list",
    "feature_cache",
    "attention",
    "compile",
    "exact",
    "padding",
    "window_join",
    "decode_groups",
    "prompt_join",
    "rounding",
    "noise",
)
"""Options that are honoured when a model is loaded."""


def load_upscaler(name: str = "star-small", *, device: str = "auto", **settings: Any) -> Upscaler:
    """Load a model by its name.

    Args:
        name: As `starvsr models list` shows it, or "bicubic" for plain interpolation.
        device: "auto", "cpu", "cuda", "cuda:1", "mps", ...
        settings: Options of the names in ``LOADING``: only what the model honours; None and False are left out.

    Returns:
        The model.

    Raises:
        OptionError: there is no such model or device, or the model does not honour a setting.
        WeightsError: its weights are missing or damaged.
    """
    given = {key: value for key, value in settings.items() if value is not None and value is not False}
    if name in BASELINES:
        return _baseline(name, given)
    from starvsr.models.registry import MODELS, PUBLISHED

    if name in PUBLISHED:
        return _published(name, given, device)
    if name not in MODELS:
        known = ", ".join([*MODELS, *PUBLISHED, *BASELINES])
        raise OptionError(f"unknown model {name!r}: known are {known}; see `starvsr models list`")
    from starvsr.families.star_small.pipeline import StarPipeline

    _refuse_unknown(name, given, set(inspect.signature(StarPipeline.load).parameters))
    if "weights" in given:
        given["weights"] = Path(given["weights"])
    return StarPipeline.load(name, device=choose_device(device), **given)


def load_for(options: UpscaleOptions) -> Upscaler:
    """Load the model that the options name."""
    settings = {name: getattr(options, name) for name in LOADING}
    return load_upscaler(options.model, device=options.device, **settings)


def _published(name: str, given: dict[str, Any], device: str) -> Upscaler:
    from starvsr.families.star_i2vgen.load import load_published
    from starvsr.families.star_i2vgen.upscaler import ACCEPTED, LOADS

    _refuse_unknown(name, given, {*LOADS, *ACCEPTED})
    if "weights" in given:
        given["weights"] = Path(given["weights"])
    return load_published(name, device=choose_device(device), **given)


def _baseline(name: str, given: dict[str, Any]) -> Upscaler:
    from starvsr.families.bicubic import BicubicUpscaler

    _refuse_unknown(name, given, set())
    return BicubicUpscaler()


def _refuse_unknown(name: str, given: dict[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise OptionError(f"model {name} has no use for {flag_name(key)}: leave it out")
