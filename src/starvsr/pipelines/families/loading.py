"""From the name of a model to a model that is ready, and from the word of a device to a device."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from starvsr.errors import OptionError
from starvsr.pipelines.options import UpscaleOptions, default_of, flag_name, option_infos
from starvsr.pipelines.upscaler import ClipUpscaler, traits_of

BASELINES = ("bicubic",)
LOADING = (
    "weights",
    "precision",
    "detail",
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


def load_pipeline(name: str = "star-small", *, device: str = "auto", **settings: Any) -> ClipUpscaler:
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
    from starvsr.models.registry import CAUSAL, MODELS, PUBLISHED

    if name in PUBLISHED:
        return _published(name, given, device)
    if name in CAUSAL:
        return _causal(name, given, device)
    if name not in MODELS:
        known = ", ".join([*MODELS, *CAUSAL, *PUBLISHED, *BASELINES])
        raise OptionError(f"unknown model {name!r}: known are {known}; see `starvsr models list`")
    from starvsr.pipelines.families.star import StarPipeline

    _refuse_unknown(name, given, set(inspect.signature(StarPipeline.load).parameters))
    if "weights" in given:
        given["weights"] = Path(given["weights"])
    return StarPipeline.load(name, device=choose_device(device), **given)


def load_for(options: UpscaleOptions) -> ClipUpscaler:
    """Load the model that the options name, and refuse options that it does not honour."""
    settings = {name: getattr(options, name) for name in LOADING}
    upscaler = load_pipeline(options.model, device=options.device, **settings)
    check_accepted(upscaler, options, but=LOADING)
    return upscaler


def check_accepted(upscaler: ClipUpscaler, options: UpscaleOptions, *, but: tuple[str, ...] = ()) -> None:
    """Refuse options that change nothing with this model.

    Args:
        upscaler: The model.
        options: What the user asked for.
        but: Options that were honoured when the model was loaded.

    Raises:
        OptionError: an option was given that the model does not honour.
    """
    traits = traits_of(upscaler)
    accepts = traits.accepts.union(but)
    if options.steps == traits.num_steps:
        accepts |= {"steps"}  # what it does anyway
    for name, info in option_infos():
        if info.model and name not in accepts and getattr(options, name) != default_of(name):
            raise OptionError(f"model {upscaler.name} has no use for {flag_name(name)}: leave it out")
    steps = options.steps or traits.num_steps
    if options.seed is not None and steps <= traits.noiseless_steps:
        raise OptionError(
            f"model {upscaler.name} draws no noise with {steps} step{'s' if steps > 1 else ''}, so --seed changes "
            f"nothing: leave it out, or give --steps {traits.noiseless_steps + 1} or more"
        )


def choose_device(word: str) -> str:
    """Turn "auto" into the best device of this machine and check any other word.

    Raises:
        OptionError: there is no such device here.
    """
    import torch

    if word == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(word)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0][:120]
        raise OptionError(f"--device {word} cannot be used here ({reason}): use auto or cpu") from None
    return str(device)


def _published(name: str, given: dict[str, Any], device: str) -> ClipUpscaler:
    from starvsr.pipelines.families.loading_published import LOADED, load_published

    _refuse_unknown(name, given, set(LOADED))
    if "weights" in given:
        given["weights"] = Path(given["weights"])
    return load_published(name, device=choose_device(device), **given)


def _causal(name: str, given: dict[str, Any], device: str) -> ClipUpscaler:
    from starvsr.pipelines.families.causal import CausalPipeline

    _refuse_unknown(name, given, set(inspect.signature(CausalPipeline.load).parameters))
    if "weights" not in given:
        raise OptionError(f"{name} comes without weights: train it (recipes/{name}.toml) and give --weights FILE")
    return CausalPipeline.load(name, device=choose_device(device), **given)


def _baseline(name: str, given: dict[str, Any]) -> ClipUpscaler:
    from starvsr.pipelines.families.baseline import BicubicUpscaler

    _refuse_unknown(name, given, set())
    return BicubicUpscaler()


def _refuse_unknown(name: str, given: dict[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise OptionError(f"model {name} has no use for {flag_name(key)}: leave it out")
